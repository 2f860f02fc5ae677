"""Triton kernels for CUDA tensors: ``launch`` has a function for each. Importing this imports triton."""
