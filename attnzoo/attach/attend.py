r"""One attached layer: the tensor of a site as a map, through the layer, blended with what it was.

A layer that gates, :math:`layer(x) = x \prod_i g_i`, has each gate blended with 1 by one learnable scalar ``a``,

.. math::
    y = x \prod_i (1 + a\,(g_i - 1)),

inside the layer, which costs no further pass over the map; it is computed as :math:`(1 - a) + a\,g_i`. Any other layer
has its output blended with its input,

.. math::
    y = x + a\,(layer(x) - x).

In both, at :math:`a = 0` the output is the input, at :math:`a = 1` it is the paper's layer, exactly.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attnzoo.attach.context import Frame
from attnzoo.attach.layout import from_map, to_map
from attnzoo.attach.sites import Spot

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
        folds: Whether the layer blends its gates itself, see :mod:`attnzoo.attach.insert.construct`.
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
        self.overwrites = takes(layer, "in_place")
        self.gate_count = 0
        """How many gates the layer blends itself."""
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

    _version = 2
    """Of a state dict: since 2 each gate is blended by itself, before it was their product."""

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        blend = state_dict.get(f"{prefix}blend")
        if local_metadata.get("version") == 1 and (reason := self.why_not_older(blend)):
            error_msgs.append(f"{prefix}blend: {reason}")
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def why_not_older(self, blend: Tensor | None) -> str | None:
        """Return why a blend of version 1 means another function now; None if it means the same."""
        if blend is None or self.gate_count < 2 or float(blend) in {0.0, 1.0}:
            return None
        return (
            f"it is {float(blend):.6g} and was trained when the product of the gates was blended, where now each gate "
            "is by itself: the two are the same at 0 and at 1 only. Load it with the version that wrote it, or set the "
            "blend to 1 and train on"
        )

    def forward(self, x: Tensor, *beside: Tensor, in_place: bool = False) -> Tensor:
        """Return ``x``, in its own layout, attended to.

        Args:
            x: The site's tensor.
            *beside: What :meth:`receive` returned.
            in_place: Whether the layer may overwrite ``x``, where no gradient is wanted.
        """
        if not self.active:
            return x
        if self.spot.layout == "NCHW":
            return self.blended(x, self.inputs(x, *beside), in_place=in_place)
        current = to_map(x, self.spot)
        return from_map(self.blended(current, self.inputs(current, *beside)), x, self.spot)

    def blended(self, x: Tensor, inputs: tuple[Tensor, ...], *, in_place: bool = False) -> Tensor:
        """Return the map ``x`` blended with ``layer(*inputs)``, in the dtype of ``x``."""
        layer: Any = self.layer
        blend = self.blend
        options: dict[str, Any] = {"in_place": True} if in_place and self.overwrites else {}
        if blend is None:
            return _as(layer(*inputs, **options), x.dtype)
        if self.folds:
            return _as(layer(*inputs, blend=blend, **options), x.dtype)
        # lerp is one pass, and at a = 1 exactly the layer's output (it then counts back from its end).
        return torch.lerp(x, _as(layer(*inputs), x.dtype), _as(blend, x.dtype))

    def extra_repr(self) -> str:
        """Return layout and grid."""
        prefix = f", prefix_tokens={self.spot.prefix_tokens}" if self.spot.prefix_tokens else ""
        return f"layout={self.spot.layout}{prefix}, init={'paper' if self.blend is None else 'identity'!r}"


def takes(layer: nn.Module, keyword: str) -> bool:
    """Tell whether the layer's ``forward`` has a parameter of this name."""
    try:
        return keyword in inspect.signature(layer.forward).parameters
    except (TypeError, ValueError):  # a forward that is no function of Python
        return False


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x`` in ``dtype``; unlike ``Tensor.to``, it leaves no node in a graph where there is nothing to do."""
    return x if x.dtype == dtype else x.to(dtype)
