"""Kernels for gates on the CPU, and the functions that launch them."""
