"""The kernels of CEDNN's blocks and the functions that launch them; no other layer uses them."""
