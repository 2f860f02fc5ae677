"""Every launch of a Triton kernel on a map, with the fewest passes over the map that its operation needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = [(2, 64, 56, 56), (2, 256, 56, 56), (2, 512, 28, 28), (2, 1024, 14, 14), (2, 2048, 7, 7)]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
MAPS = {"x", "y", "dx", "dy", "carried", "shortcut", "d_shortcut", "a", "b", "logits", "d_logits"}
MAPS |= {"first", "second", "third", "fourth"}
"""The arguments of the kernels that are maps."""


class Work(NamedTuple):
    """What one call of a launcher does."""

    run: Callable[[], None]
    floor: int
    """Maps read and written by any implementation of this operation."""
    outputs: tuple[Tensor, ...]
    """What it fills; NaN before."""


@dataclass(frozen=True)
class Case:
    """A map."""

    shape: tuple[int, int, int, int]
    dtype: str
    layout: str
    kernel_size: int = 7

    def map(self, value: float | None = None) -> Tensor:
        """Return a map of this kind: random with ties, or filled."""
        x = (torch.randn(self.shape).relu() * 8).round() / 8 if value is None else torch.full(self.shape, value)
        return x.to(DTYPES[self.dtype]).contiguous(memory_format=LAYOUTS[self.layout])

    def works(self) -> dict[str, Work]:
        """Return every launch by name; outputs begin as NaN."""
        return {**self._statistics(), **self._convolutions(), **self._llam(), **self._rows(), **self._gates()}

    def _maps(self, count: int, value: float | None = None) -> list[Tensor]:
        return [self.map(value) for _ in range(count)]

    def _statistics(self) -> dict[str, Work]:
        """Return the launches that read a map for statistics of its channels and of its pixels."""
        from attnzoo.kernels.triton import launch

        batch, channels, height, width = self.shape
        nan, one = torch.nan, torch.ones_like
        (x, carried), (dx,) = self._maps(2), self._maps(1, nan)
        values, ties = torch.full((2, batch, channels), nan), torch.full((batch, channels), nan)
        planes, counts = torch.full((batch, 2, height, width), nan), torch.full((batch, height, width), nan)
        channel, d_channel = torch.rand(batch, channels), torch.full((batch, channels), nan)

        def pool_backward(values: Tensor, ties: Tensor | None) -> None:
            launch.global_pool_backward(x, carried, one(values), one(values), ties, dx)

        def squeeze_backward() -> None:
            tensors = (x, carried, channel, one(planes), one(counts), one(planes))
            launch.squeeze_channels_backward(*tensors, dx, d_channel)

        return {
            "global_pool": Work(lambda: launch.global_pool(x, values, ties), 1, (values, ties)),
            "global_pool, averages": Work(lambda: launch.global_pool(x, values[:1], None), 1, (values[:1],)),
            "global_pool backward": Work(lambda: pool_backward(values, one(ties)), 3, (dx,)),
            "global_pool backward, averages": Work(lambda: pool_backward(values[:1], None), 2, (dx,)),
            "squeeze_channels": Work(lambda: launch.squeeze_channels(x, channel, planes, counts), 1, (planes, counts)),
            "squeeze_channels, inference": Work(
                lambda: launch.squeeze_channels(x, channel, planes, None), 1, (planes,)
            ),
            "squeeze_channels backward": Work(squeeze_backward, 3, (dx, d_channel)),
        }

    def _convolutions(self) -> dict[str, Work]:
        """Return the launches of the convolution that makes a spatial gate of two planes."""
        from attnzoo.kernels.triton import launch

        batch, _, height, width = self.shape
        nan = torch.nan
        planes, spatial = torch.ones(batch, 2, height, width), torch.rand(batch, 1, height, width)
        weight, bias = torch.randn(1, 2, self.kernel_size, self.kernel_size), torch.randn(1)
        convolved = torch.full_like(spatial, nan)
        d_planes, d_weight = torch.full_like(planes, nan), torch.full_like(weight, nan)
        return {
            "spatial_conv": Work(lambda: launch.spatial_conv(planes, weight, bias, convolved), 0, (convolved,)),
            "spatial_conv backward": Work(
                lambda: launch.spatial_conv_backward(planes, weight, spatial, d_planes, d_weight),
                0,
                (d_planes, d_weight),
            ),
        }

    def _llam(self) -> dict[str, Work]:
        """Return the launches of lossless attention."""
        from attnzoo.kernels.triton import launch

        nan = torch.nan
        (x, carried, dy), (dx, d_shortcut) = self._maps(3), self._maps(2, nan)
        other, blend = self.map(), torch.tensor(0.3)
        d_blend = torch.full_like(blend, nan)
        return {
            "llam_gate": Work(lambda: launch.llam_gate(x, carried, dy, None, None, False, dx, None), 4, (dx,)),
            "llam_gate, training": Work(
                lambda: launch.llam_gate(x, carried, dy, blend, other, True, dx, d_shortcut), 6, (dx, d_shortcut)
            ),
            "llam_gate backward": Work(
                lambda: launch.llam_gate_backward(dy, x, carried, None, None, dx, d_shortcut, None, None),
                5,
                (dx, d_shortcut),
            ),
            "llam_gate backward, blend": Work(
                lambda: launch.llam_gate_backward(dy, x, carried, blend, None, dx, d_shortcut, None, d_blend),
                5,
                (dx, d_shortcut, d_blend),
            ),
        }

    def _rows(self) -> dict[str, Work]:
        """Return the launches that split a map by its rows."""
        from attnzoo.kernels.triton import launch

        batch, _, height, _ = self.shape
        copies, keep = self._maps(3, torch.nan), torch.ones(3, batch, height, dtype=torch.bool)
        (x,), given, (dx,) = self._maps(1), self._maps(3), self._maps(1, torch.nan)
        return {
            "split_rows": Work(lambda: launch.split_rows(x, keep, copies), 4, tuple(copies)),
            "split_rows backward": Work(lambda: launch.split_rows_backward(given, keep, dx), 4, (dx,)),
        }

    def _gates(self) -> dict[str, Work]:
        """Return the launches that apply gates to a map."""
        from attnzoo.kernels.triton import launch

        batch, channels, height, width = self.shape
        (x, carried, dy), (dx, d_shortcut) = self._maps(3), self._maps(2, torch.nan)
        channel, spatial = torch.rand(batch, channels), torch.rand(batch, 1, height, width)
        d_channel, d_spatial = torch.full_like(channel, torch.nan), torch.full_like(spatial, torch.nan)
        blend = torch.tensor(0.3)
        gradients = (dx, d_channel, d_spatial)

        def apply(spatial: Tensor | None, blend: Tensor | None, shortcut: Tensor | None = None) -> None:
            launch.apply_gates(x, channel, spatial, blend, False, shortcut, shortcut is not None, dx)

        def apply_backward(blend: Tensor | None, y: Tensor | None = None, d_shortcut: Tensor | None = None) -> None:
            gates = (channel, spatial, blend, False, y, y is not None)
            launch.apply_gates_backward(dy, x, *gates, dx, d_channel, d_spatial, d_shortcut)

        return {
            "apply_gates": Work(lambda: apply(spatial, None), 2, (dx,)),
            "apply_gates, channel and blend": Work(lambda: apply(None, blend), 2, (dx,)),
            "apply_gates, shortcut, ReLU": Work(lambda: apply(spatial, None, carried), 3, (dx,)),
            "apply_gates backward": Work(lambda: apply_backward(None), 3, gradients),
            "apply_gates backward, blend": Work(lambda: apply_backward(blend), 3, gradients),
            "apply_gates backward, shortcut, ReLU": Work(
                lambda: apply_backward(None, carried, d_shortcut), 5, (*gradients, d_shortcut)
            ),
        }
