"""The parameters and statistics of a convolution with its batch norm, of which CEDNN's blocks consist."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from attnzoo.ops.torch_internals import buffers_of, parameters_of


class Stage(NamedTuple):
    """A convolution (weight, bias) and the batch norm after it (gain, offset, running mean and variance, epsilon)."""

    weight: Tensor
    bias: Tensor | None
    gain: Tensor | None
    offset: Tensor | None
    mean: Tensor
    variance: Tensor
    epsilon: float

    def learned(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Return the parameters. Not by a slice: torch.compile slices named tuples only since torch 2.9."""
        return self.weight, self.bias, self.gain, self.offset

    def all_but_weight(self) -> tuple[Tensor | None, ...]:
        """Return all tensors except the weight, not by a slice either."""
        return self.bias, self.gain, self.offset, self.mean, self.variance

    @classmethod
    def of(cls, conv: nn.Module, norm: nn.Module) -> Stage:
        """Return the stage of an ``nn.Conv2d`` and an ``nn.BatchNorm2d``.

        Raises:
            ValueError: If the norm keeps no running statistics.
        """
        weights, affine, statistics = parameters_of(conv), parameters_of(norm), buffers_of(norm)
        mean, variance = statistics["running_mean"], statistics["running_var"]
        weight = weights["weight"]
        if mean is None or variance is None or weight is None:
            raise ValueError(f"norm must keep running statistics, got {norm}")
        return cls(weight, weights["bias"], affine["weight"], affine["bias"], mean, variance, norm.eps)  # type: ignore[arg-type]
