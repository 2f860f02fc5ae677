"""The Triton kernels, built and measured without a GPU."""
