"""The papers' claims, tested on synthetic faces; needs ``pip install "attnzoo[train,synth,faces]"``."""
