"""C++ kernels behind a plain C interface: ``library`` loads them, ``launch`` calls them on tensors."""
