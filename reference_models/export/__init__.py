"""Exports the networks for other runtimes, in float32 and in int8; needs ``pip install "attnzoo[export]"``."""
