"""Kernels and their launchers, nothing else. Imported by ``attnzoo.ops`` alone, and only when one is to run."""
