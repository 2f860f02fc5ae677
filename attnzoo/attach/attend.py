r"""One attached layer: the tensor of a site as a map, through the layer, blended with what it was.

.. math::
    y = x + a\,(layer(x) - x)

with one learnable scalar ``a``. At :math:`a = 0` the output is the input, at :math:`a = 1` it is the paper's layer. For
a layer that gates, :math:`layer(x) = x \cdot g`, the same blend is :math:`x\,(1 + a(g - 1))`: it costs no further pass.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnzoo.attach.context import Frame
from attnzoo.attach.layout import from_map, to_map
from attnzoo.attach.sites import Spot
from attnzoo.ops.apply_gates import apply_gates

Init = Literal["identity", "paper"]


class Attend(nn.Module):
    """A layer at one spot of a site, in the site's own layout.

    The blend has shape (1,), not (): FSDP2 shards no scalar. With ``a = 0`` a gating layer returns its input bit for
    bit; any other returns equal numbers, where -0.0 may have become +0.0. In both cases a layer that yields NaN or
    infinities spreads them at any ``a``.

    Args:
        layer: The attention.
        spot: Layout, prefix tokens and grid of the tensor.
        init: ``identity`` starts with ``a = 0``; ``paper`` has no blend.
        folds: Whether ``layer.gates(...)`` may stand for ``layer(...)``, see :mod:`attnzoo.attach.construct`.
        device: Device of the blend.
        dtype: Floating dtype of the blend.
    """

    def __init__(
        self,
        layer: nn.Module,
        spot: Spot,
        *,
        init: Init,
        folds: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        # torch.fx takes modules that say they are torch.nn's as leaves, and has no other sign for it: the graph gets
        # one node for each site, and a layer may do what a symbolic trace cannot follow (check shapes, for one).
        self.__module__ = "torch.nn"
        self.spot = spot
        self.folds = folds
        self.active = True
        self.layer = layer
        blend = nn.Parameter(torch.zeros(1, device=device, dtype=dtype)) if init == "identity" else None
        self.blend: nn.Parameter | None
        self.register_parameter("blend", blend)

    def inputs(self, x: Tensor, *beside: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002 - other kinds use it
        """Return what the layer takes, made of the map ``x`` and of what the site hands over beside it."""
        return (x,)

    def receive(self, x: Tensor, frame: Frame) -> tuple[Tensor, ...]:  # noqa: ARG002 - other kinds use them
        """Return what is handed over to the layer beside ``x``, the site's output: nothing, for a unary layer.

        Args:
            x: The site's output.
            frame: What the call of the site's module holds.
        """
        return ()

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Return ``x``, in its own layout, attended to."""
        if not self.active:
            return x
        if self.spot.layout == "NCHW":
            return self.blended(x, self.inputs(x, *beside))
        current = to_map(x, self.spot)
        return from_map(self.blended(current, self.inputs(current, *beside)), x, self.spot)

    def blended(self, x: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the map ``x`` blended with ``layer(*inputs)``, in the dtype of ``x``."""
        layer: Any = self.layer
        blend = self.blend
        if blend is None:
            return _as(layer(*inputs), x.dtype)
        if self.folds:
            return apply_gates(x, layer.gates(*inputs), blend=blend, residual=getattr(layer, "residual", False))
        # lerp is one pass, and at a = 1 exactly the layer's output (it then counts back from its end).
        return torch.lerp(x, _as(layer(*inputs), x.dtype), _as(blend, x.dtype))

    def extra_repr(self) -> str:
        """Return layout and grid."""
        prefix = f", prefix_tokens={self.spot.prefix_tokens}" if self.spot.prefix_tokens else ""
        return f"layout={self.spot.layout}{prefix}, init={'paper' if self.blend is None else 'identity'!r}"


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x`` in ``dtype``; unlike ``Tensor.to``, it leaves no node in a graph where there is nothing to do."""
    return x if x.dtype == dtype else x.to(dtype)
