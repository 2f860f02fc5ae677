"""Equations that several papers share, one number or one vector at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def sigmoid(value: Tensor) -> Tensor:
    """1 / (1 + exp(-value))."""
    return 1 / (1 + torch.exp(-value))


def affine(weight: Tensor, bias: Tensor | None, vector: Tensor) -> Tensor:
    """W v + b, one output at a time."""
    rows = [(weight[o] * vector).sum() + (0 if bias is None else bias[o]) for o in range(weight.shape[0])]
    return torch.stack(rows)


def relu(vector: Tensor) -> Tensor:
    """max(0, v)."""
    return torch.where(vector > 0, vector, torch.zeros_like(vector))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """Cross-correlation with odd square kernels and zeros outside the frame: x (I, H, W), weight (O, I, K, K)."""
    reach = weight.shape[-1] // 2
    _, height, width = x.shape
    rows, columns = range(0, height, stride), range(0, width, stride)
    out = torch.zeros(weight.shape[0], len(rows), len(columns), dtype=x.dtype)
    for o in range(weight.shape[0]):
        for p, i in enumerate(rows):
            for q, j in enumerate(columns):
                total = torch.zeros((), dtype=x.dtype) if bias is None else bias[o].clone()
                for di in range(-reach, reach + 1):
                    for dj in range(-reach, reach + 1):
                        if 0 <= i + di < height and 0 <= j + dj < width:
                            total += (weight[o, :, di + reach, dj + reach] * x[:, i + di, j + dj]).sum()
                out[o, p, q] = total
    return out


def normalise(x: Tensor, statistics: tuple[Tensor, Tensor], affine_terms: tuple[Tensor, Tensor], eps: float) -> Tensor:
    """Batch normalisation of x (C, H, W) by given (mean, variance), then (weight, bias)."""
    (mean, variance), (weight, bias) = statistics, affine_terms
    out = torch.zeros_like(x)
    for c in range(x.shape[0]):
        out[c] = (x[c] - mean[c]) / (variance[c] + eps) ** 0.5 * weight[c] + bias[c]
    return out


def batch_statistics(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over a batch of maps (C, H, W)."""
    means, variances = [], []
    for c in range(maps[0].shape[0]):
        values = [value for x in maps for value in x[c].flatten()]
        mean = sum(values) / len(values)
        means.append(mean)
        variances.append(sum((value - mean) ** 2 for value in values) / len(values))
    return torch.stack(means), torch.stack(variances)
