"""Triton kernels for CUDA tensors; ``launch`` has the functions that call them. Importing this imports triton."""
