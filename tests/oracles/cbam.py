"""Woo et al., eqs. (1)-(3): F' = Mc(F) F, F'' = Ms(F') F', the MLP shared by the averages and the maxima."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tests.oracles.pointwise import affine, convolve, relu, sigmoid


class Mlp(NamedTuple):
    """W0, b0, W1, b1 of the channel half."""

    w0: Tensor
    b0: Tensor | None
    w1: Tensor
    b1: Tensor | None


class Plane(NamedTuple):
    """The spatial half's convolution (1, 2, K, K), and (mean, variance, weight, bias, eps) of the norm behind it."""

    weight: Tensor
    bias: Tensor | None
    norm: tuple[Tensor, Tensor, Tensor, Tensor, float] | None


def cbam(x: Tensor, mlp: Mlp | None, plane: Plane | None, *, residual: bool = False) -> Tensor:
    """Refine x (B, C, H, W) by the halves that are given; ``residual`` adds x at the end."""
    out = []
    for sample in x:
        refined = sample if mlp is None else _channels(sample, mlp)
        refined = refined if plane is None else _pixels(refined, plane)
        out.append(refined + sample if residual else refined)
    return torch.stack(out)


def _channels(x: Tensor, mlp: Mlp) -> Tensor:
    flat = [channel.flatten() for channel in x]
    averages = torch.stack([sum(values) / len(values) for values in flat])
    maxima = torch.stack([max(values) for values in flat])
    hidden_a, hidden_m = (relu(affine(mlp.w0, mlp.b0, vector)) for vector in (averages, maxima))
    gate = sigmoid(affine(mlp.w1, mlp.b1, hidden_a) + affine(mlp.w1, mlp.b1, hidden_m))
    return torch.stack([gate[c] * x[c] for c in range(len(x))])


def _pixels(x: Tensor, plane: Plane) -> Tensor:
    channels, height, width = x.shape
    planes = torch.empty(2, height, width, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            planes[0, i, j] = sum(x[:, i, j]) / channels
            planes[1, i, j] = max(x[:, i, j])
    logits = convolve(planes, plane.weight, plane.bias)[0]
    if plane.norm is not None:
        mean, variance, weight, bias, eps = plane.norm
        logits = (logits - mean) / (variance + eps) ** 0.5 * weight + bias
    out = torch.empty_like(x)
    for i in range(height):
        for j in range(width):
            out[:, i, j] = sigmoid(logits[i, j]) * x[:, i, j]
    return out
