"""The kernels of CEDNN's blocks, which nothing else uses, and their launchers."""
