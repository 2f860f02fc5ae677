"""Update the running statistics of batch norms that a fused operation replaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.igc.training import Moments


def in_training(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Tell whether ``norm`` is a plain ``nn.BatchNorm2d`` in training mode with running statistics."""
    return type(norm) is nn.BatchNorm2d and norm.training and norm.running_mean is not None


def momentum(norm: nn.BatchNorm2d) -> float:
    """Add 1 to the norm's batch count and return the weight of this batch's statistics in the running ones."""
    if norm.num_batches_tracked is None:
        return norm.momentum or 0.0
    norm.num_batches_tracked.add_(1)
    return 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum


@torch.no_grad()
def update(norms: Sequence[nn.BatchNorm2d], stages: Sequence[Stage], moments: Sequence[Moments], x: Tensor) -> None:
    """Update the running statistics of norms with the moments of a batch, as their ``forward`` does in training.

    Args:
        norms: The norm of each stage.
        stages: The stages, whose running statistics and biases are used.
        moments: Mean and biased variance of each stage's convolution over the batch, without its bias.
        x: Map with as many values per channel as the convolutions' outputs.
    """
    count = x.numel() // x.shape[1]
    for norm, stage, (mean, variance) in zip(norms, stages, moments, strict=True):
        share = momentum(norm)
        with_bias = mean if stage.bias is None else mean + stage.bias
        stage.mean.lerp_(with_bias.to(stage.mean.dtype), share)
        stage.variance.lerp_((variance * count / (count - 1)).to(stage.variance.dtype), share)
