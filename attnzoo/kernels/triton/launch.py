"""Launches the Triton kernels on tensors, by the names and arguments of ``attnzoo.kernels.cpu.launch``."""
