"""Convert a tensor of any layout to a map (B, C, H, W) and back, by views and permutations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnzoo.attach.sites import Spot


def to_map(x: Tensor, spot: Spot) -> Tensor:
    """Return ``x`` as a map (B, C, H, W) without its prefix tokens, as a view where strides allow one.

    Args:
        x: A tensor in the spot's layout.
        spot: Layout, prefix tokens and grid. In NLC and NCL the grid is scaled to the number of tokens in ``x``.

    Raises:
        ValueError: If the tensor's rank does not fit the layout, or its tokens form no grid of the spot's aspect ratio.
    """
    if spot.layout == "NCHW":
        return x
    if x.dim() != len(spot.layout):
        raise ValueError(f"a tensor in layout {spot.layout} was expected, got shape {tuple(x.shape)}")
    if spot.layout == "NHWC":
        return x.permute(0, 3, 1, 2)
    if spot.layout == "NCL":
        height, width = scaled_grid(spot.grid, x.shape[2])
        return x.view(*x.shape[:2], height, width)
    tokens = x[:, spot.prefix_tokens :]
    height, width = scaled_grid(spot.grid, tokens.shape[1])
    return tokens.view(tokens.shape[0], height, width, tokens.shape[2]).permute(0, 3, 1, 2)


def from_map(y: Tensor, x: Tensor, spot: Spot) -> Tensor:
    """Return the map ``y`` in the layout of ``x``, with the prefix tokens of ``x`` before it.

    Args:
        y: Map (B, C, H, W), of the shape of ``to_map(x, spot)``.
        x: The tensor in the spot's layout.
        spot: Layout and prefix tokens.
    """
    if spot.layout == "NCHW":
        return y
    if spot.layout == "NHWC":
        return y.permute(0, 2, 3, 1)
    if spot.layout == "NCL":
        return y.flatten(2)
    tokens = y.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([x[:, : spot.prefix_tokens], tokens], dim=1) if spot.prefix_tokens else tokens


def map_shape(spot: Spot, batch: int) -> tuple[int, int, int, int]:
    """Return the shape (B, C, H, W) of the layer's input at the probed input size."""
    return (batch, spot.channels, *spot.grid)


def scaled_grid(grid: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Return height and width of a grid of ``tokens`` tokens with the aspect ratio of ``grid``; one row is a sequence.

    Raises:
        ValueError: If there is no such grid in whole numbers.

    Example:
        >>> scaled_grid((14, 14), 196), scaled_grid((7, 14), 392)
        ((14, 14), (14, 28))
    """
    height, width = grid
    if height == 1:
        return 1, tokens
    if tokens == height * width:
        return grid
    scale = math.sqrt(tokens / (height * width))
    scaled = round(height * scale), round(width * scale)
    if scaled[0] * scaled[1] != tokens:
        raise ValueError(
            f"{tokens} tokens make no grid of the aspect {height}:{width} that this site was attached with; attach "
            "with example_inputs of the aspect that you mean to use"
        )
    return scaled
