"""Convolutions (by Winograd's algorithm and by oneDNN) and linear layers."""
