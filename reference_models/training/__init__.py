"""Recipes of the papers and the engine that runs them; needs ``pip install "attnzoo[train]"``."""
