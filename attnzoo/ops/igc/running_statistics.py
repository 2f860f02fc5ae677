"""The running statistics of batch normalisations whose work another operation does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.igc.training import Moments


def in_training(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Tell whether a norm is torch's own, normalises by the batch, and keeps running statistics."""
    return type(norm) is nn.BatchNorm2d and norm.training and norm.running_mean is not None


def momentum(norm: nn.BatchNorm2d) -> float:
    """Count a batch, and return the share that its statistics have in the running ones."""
    if norm.num_batches_tracked is None:
        return norm.momentum or 0.0
    norm.num_batches_tracked.add_(1)
    return 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum


@torch.no_grad()
def update(norms: Sequence[nn.BatchNorm2d], stages: Sequence[Stage], moments: Sequence[Moments], x: Tensor) -> None:
    """Let every norm take in the moments of a batch as its own ``forward`` would.

    Args:
        norms: Behind each stage's convolution.
        stages: Whose biases the moments are without.
        moments: Of what the convolutions make.
        x: Map with as many values a channel as they have.
    """
    count = x.numel() // x.shape[1]
    for norm, stage, (mean, variance) in zip(norms, stages, moments, strict=True):
        share = momentum(norm)
        own = mean if stage.bias is None else mean + stage.bias
        stage.mean.lerp_(own.to(stage.mean.dtype), share)
        stage.variance.lerp_((variance * count / (count - 1)).to(stage.variance.dtype), share)
