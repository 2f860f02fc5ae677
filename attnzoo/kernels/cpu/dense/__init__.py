"""Kernels for dense operations on the CPU, and the functions that launch them."""
