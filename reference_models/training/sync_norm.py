"""Batch normalisation over all processes for CPUs; torch's ``SyncBatchNorm`` works on accelerators only.

With it, several processes train the same network as one process with the same global batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with the mean and variance over the batches of all processes together.

    All processes must have batches of the same shape.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised ``x`` (B, C, H, W)."""
        if not self.training or not torch.distributed.is_initialized():
            return super().forward(x)
        processes = torch.distributed.get_world_size()
        count = processes * x.numel() // x.shape[1]
        mean: Tensor = all_reduce(x.sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        centred = x - mean[:, None, None]
        variance: Tensor = all_reduce(centred.square().sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        self._update_running_statistics(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        normalised = centred * scale[:, None, None]
        return normalised if self.bias is None else normalised + self.bias[:, None, None]

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def synchronise(module: nn.Module) -> None:
    """Convert every ``nn.BatchNorm2d`` in ``module`` in place; parameters and state dict keys stay."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SynchronisedBatchNorm2d
