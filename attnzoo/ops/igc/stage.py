"""A convolution and its norm, as CEDNN's blocks are made of them, read from their modules."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from attnzoo.ops.torch_internals import buffers_of, parameters_of


class Stage(NamedTuple):
    """A convolution and the batch normalisation behind it, with the statistics that it has gathered."""

    weight: Tensor
    bias: Tensor | None
    gain: Tensor | None
    offset: Tensor | None
    mean: Tensor
    variance: Tensor
    epsilon: float

    def learned(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Return the parameters, one by one: torch.compile slices named tuples since torch 2.9."""
        return self.weight, self.bias, self.gain, self.offset

    def beside(self) -> tuple[Tensor | None, ...]:
        """Return all tensors but the weight, as ``learned``."""
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
