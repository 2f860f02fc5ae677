"""Applies a trained network to photographs; needs ``pip install "attnzoo[faces,train]"``."""
