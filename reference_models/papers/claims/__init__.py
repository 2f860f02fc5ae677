"""The papers' claims, tested on faces that anyone can make; needs ``pip install "attnzoo[train,synth,faces]"``."""
