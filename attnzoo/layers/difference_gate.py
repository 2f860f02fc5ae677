r"""Difference attention maps (CEDNN).

J. Chen, C. Wang, K. Wang, M. Liu, "Computational efficient deep neural network with difference attention maps for
facial action unit detection", 2020, sections 3.2 and 3.3.

The difference of an action frame and the neutral frame, thresholded at five grey levels, gives binary maps
:math:`m_1 .. m_n`. They enter the network's input stacked (a),

.. math::
    y = [x : x \cdot m_1 : \dots : x \cdot m_n]

and the later blocks in place (b): the C channels form n + 1 equal groups, the first is left as it is, and group k + 1
becomes :math:`x + x \cdot m_k` ("multiplied ... and then added") or :math:`x \cdot m_k`.

Differences from the paper: none in (a), which is what its 18 input channels say. The paper does not print how maps and
channels meet in later blocks: (b) is the reading that keeps every published parameter count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, fx

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import note_gates
from attnzoo.ops.gates.apply_gates import blended
from attnzoo.ops.memory_format import memory_format
from attnzoo.registry import register

fx.wrap("blended")

DIFFERENCE_THRESHOLDS = (30.0, 35.0, 40.0, 45.0, 50.0)
"""The paper's grey levels."""
Form = Literal["stack", "add", "multiply"]


def threshold_maps(difference: Tensor, thresholds: Sequence[float] = DIFFERENCE_THRESHOLDS) -> Tensor:
    """Return the binary maps of a grey difference image, one for each threshold.

    Args:
        difference: Grey levels in [0, 255], (B, 1, H, W), of any real dtype.
        thresholds: Grey levels; a pixel at or above one is 1 in its map. The paper's five by default.

    Returns:
        Maps (B, len(thresholds), H, W) of exactly 0.0 and 1.0, float32 on the device of ``difference``.

    Raises:
        TypeError: If ``difference`` is no tensor or a threshold no number.
        ValueError: If the shape is wrong, there is no threshold, or one is NaN or outside [0, 255].

    Example:
        >>> threshold_maps(torch.tensor([[[[29, 30, 50]]]])).sum(1).int()
        tensor([[[0, 1, 5]]], dtype=torch.int32)
    """
    if not isinstance(difference, Tensor):
        raise TypeError(f"difference must be a tensor (B, 1, H, W), got {type(difference).__name__}")
    if difference.dim() != 4 or difference.shape[1] != 1:
        raise ValueError(f"difference must have shape (B, 1, H, W), got {tuple(difference.shape)}")
    if not isinstance(thresholds, Sequence):
        raise TypeError(f"thresholds must be a sequence of grey levels, got {thresholds!r}")
    if not thresholds:
        raise ValueError(f"thresholds must hold at least one grey level, got {thresholds!r}")
    for threshold in thresholds:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise TypeError(f"thresholds must be numbers, got {threshold!r}")
        if math.isnan(threshold) or not 0 <= threshold <= 255:
            raise ValueError(f"thresholds must be grey levels in [0, 255], got {threshold}")
    dtype = torch.promote_types(difference.dtype, torch.float32)  # float64 levels for a float64 image
    levels = torch.tensor(thresholds, device=difference.device, dtype=dtype)
    return (difference >= levels.view(1, -1, 1, 1)).float()


@register(
    "difference_gate",
    kind="guided",
    paper="Chen, Wang, Wang, Liu, Computational efficient deep neural network with difference attention maps, 2020",
    summary="Groups of channels modulated by binary maps of the pixels in which the face has moved.",
)
class DifferenceGate(Layer):
    """Modulate a map by binary difference maps.

    Args:
        channels: Channels C of the map; in the forms ``add`` and ``multiply`` a multiple of ``num_maps + 1``.
        num_maps: Number n of binary maps.
        form: ``add`` (x + x*m) or ``multiply`` (x*m) modulate n of n + 1 channel groups in place; ``stack`` returns
            the map and its n products one after the other, (1 + n)*C channels.
        device: Accepted for a uniform signature; the layer has no parameters.
        dtype: Accepted for a uniform signature; the layer has no parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``form`` is unknown or ``channels`` cannot be grouped.

    Example:
        >>> face, maps = torch.rand(2, 3, 8, 8), torch.ones(2, 5, 8, 8)
        >>> DifferenceGate(3, form="stack")(face, maps).shape
        torch.Size([2, 18, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        *,
        num_maps: int = 5,
        form: Form = "add",
        device: torch.device | str | None = None,  # noqa: ARG002 - every layer takes it
        dtype: torch.dtype | None = None,  # noqa: ARG002 - every layer takes it
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        self.num_maps = checks.positive_int("num_maps", num_maps)
        checks.one_of("form", form, ("stack", "add", "multiply"))
        if form != "stack" and channels % (num_maps + 1):
            raise ValueError(
                f"channels must be a multiple of num_maps + 1 = {num_maps + 1} in form {form!r}, got {channels}"
            )
        self.form = form
        self.out_channels = channels * (num_maps + 1) if form == "stack" else channels

    def gates(self, x: Tensor, maps: Tensor) -> tuple[Tensor]:
        """Return the factor (B, ``out_channels``, H, W) that each output channel carries; see :meth:`forward`."""
        return (self._factors(x, maps).repeat_interleave(self.out_channels // (self.num_maps + 1), dim=1),)

    def check(self, x: Tensor, maps: Tensor) -> None:
        """Raise the errors of :meth:`forward` without computing it, for callers that modulate the map themselves."""
        checks.feature_map("x", x, self.channels)
        checks.feature_map("maps", maps, self.num_maps)
        if not checks.is_symbolic(x) and (maps.shape[0] != x.shape[0] or maps.shape[2:] != x.shape[2:]):
            raise ValueError(
                f"maps must have shape {(x.shape[0], self.num_maps, *x.shape[2:])} to go with x "
                f"{tuple(x.shape)}, got {tuple(maps.shape)}"
            )

    def _factors(self, x: Tensor, maps: Tensor) -> Tensor:
        """Return the factor (B, n + 1, H, W) of each group of output channels."""
        self.check(x, maps)
        note_gates(self, {"maps": maps}, hard=True)
        factors = maps.to(x.dtype)
        if self.form == "add":
            factors = factors + 1
        return torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)

    def forward(self, x: Tensor, maps: Tensor, *, blend: Tensor | None = None) -> Tensor:
        """Return the modulated map.

        Args:
            x: Map (B, C, H, W), floating.
            maps: Binary maps (B, n, H, W), floating, of the same size.
            blend: Scalar ``a``, of shape () or (1,): each factor counts as ``(1 - a) + a * factor``.

        Returns:
            Map (B, ``out_channels``, H, W) of the dtype, device and memory format of ``x``.

        Raises:
            TypeError: If an input is no floating tensor.
            ValueError: If the shapes do not fit.
        """
        factors = self._factors(x, maps)
        factors = blended(factors, blend).to(x.dtype)
        factors = factors[:, :, None]  # to broadcast over each group's channels
        groups = x[:, None] if self.form == "stack" else torch.unflatten(x, 1, (self.num_maps + 1, -1))
        y = (groups * factors).flatten(1, 2)
        if checks.is_symbolic(x):
            return y
        return y.contiguous(memory_format=memory_format(x))

    def extra_repr(self) -> str:
        """Return the options."""
        return f"channels={self.channels}, num_maps={self.num_maps}, form={self.form!r}"
