"""The synthetic faces, and the networks that are trained on them."""
