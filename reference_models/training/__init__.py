"""The papers' training recipes and the code that trains by them; needs ``pip install "attnzoo[train]"``."""
