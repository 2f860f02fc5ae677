r"""One attached layer: it converts a site's tensor to a map, applies the layer, and blends the result with the input.

A layer that gates, :math:`layer(x) = x \prod_i g_i`, has each gate blended with 1 by one learnable scalar ``a``,

.. math::
    y = x \prod_i (1 + a\,(g_i - 1)),

inside the layer, without a further pass over the map; it is computed as :math:`(1 - a) + a\,g_i`. The output of any
other layer is blended with its input,

.. math::
    y = x + a\,(layer(x) - x).

In both cases the output is exactly the input at :math:`a = 0`, and exactly that of the paper's layer at :math:`a = 1`.
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
    """A layer at one spot of a site; input and output have the site's layout.

    The blend has shape (1,), not (), because FSDP2 cannot shard scalars. With ``a = 0`` a gating layer returns its
    input bit for bit; any other returns equal numbers, where -0.0 may have become +0.0. If the layer's gate or output
    is NaN or infinite, so is the result, at any ``a``.

    Args:
        layer: The attention.
        spot: Layout, prefix tokens and grid of the tensor.
        init: ``identity`` starts with ``a = 0``; ``paper`` has no blend.
        folds: Whether the layer's ``forward`` blends the gates, see :mod:`attnzoo.attach.insert.construct`.
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
        # torch.fx treats a module as a leaf only if its `__module__` begins with torch.nn: the graph gets one node for
        # each site, and the layer may contain code that a symbolic trace cannot follow, such as checks of shapes.
        self.__module__ = "torch.nn"
        self.spot = spot
        self.folds = folds
        self.overwrites = takes(layer, "in_place")
        self.gate_count = 0
        """Number of gates that the layer blends."""
        self.active = True
        self.layer = layer
        blend = nn.Parameter(torch.zeros(1, device=device, dtype=dtype)) if init == "identity" else None
        self.blend: nn.Parameter | None
        self.register_parameter("blend", blend)

    def inputs(self, x: Tensor, *extra: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002 - other kinds use it
        """Return the layer's arguments: the map ``x``, and for other kinds the tensors from :meth:`receive`."""
        return (x,)

    def receive(self, x: Tensor, frame: Frame) -> tuple[Tensor, ...]:  # noqa: ARG002 - other kinds use them
        """Return the tensors that the layer takes in addition to ``x``: none, for a unary layer.

        Args:
            x: The site's output.
            frame: The frame of the running call of the site's module; see :mod:`attnzoo.attach.context`.
        """
        return ()

    _version = 2
    """Version of the state dict: since 2 each gate is blended, in version 1 their product was."""

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
        """Return why a blend from a state dict of version 1 gives other results now, or None if it does not."""
        if blend is None or self.gate_count < 2 or float(blend) in {0.0, 1.0}:
            return None
        return (
            f"it is {float(blend):.6g} and was trained when the product of the gates was blended, where now each gate "
            "is by itself: the two are the same at 0 and at 1 only. Load it with the version that wrote it, or set the "
            "blend to 1 and train on"
        )

    def forward(self, x: Tensor, *extra: Tensor, in_place: bool = False) -> Tensor:
        """Apply the layer to ``x``; return a tensor of the same layout.

        Args:
            x: The site's tensor.
            *extra: The tensors from :meth:`receive`.
            in_place: Whether the layer may overwrite ``x`` if no gradient is required.
        """
        if not self.active:
            return x
        if self.spot.layout == "NCHW":
            return self.blended(x, self.inputs(x, *extra), in_place=in_place)
        current = to_map(x, self.spot)
        return from_map(self.blended(current, self.inputs(current, *extra)), x, self.spot)

    def blended(self, x: Tensor, inputs: tuple[Tensor, ...], *, in_place: bool = False) -> Tensor:
        """Return the map ``x`` blended with ``layer(*inputs)``, in the dtype of ``x``."""
        layer: Any = self.layer
        blend = self.blend
        options: dict[str, Any] = {"in_place": True} if in_place and self.overwrites else {}
        if blend is None:
            return _as(layer(*inputs, **options), x.dtype)
        if self.folds:
            return _as(layer(*inputs, blend=blend, **options), x.dtype)
        # lerp takes one pass, and returns exactly the layer's output at a = 1 (its formula starts from the end there).
        return torch.lerp(x, _as(layer(*inputs), x.dtype), _as(blend, x.dtype))

    def extra_repr(self) -> str:
        """Return layout and grid."""
        prefix = f", prefix_tokens={self.spot.prefix_tokens}" if self.spot.prefix_tokens else ""
        return f"layout={self.spot.layout}{prefix}, init={'paper' if self.blend is None else 'identity'!r}"


def takes(layer: nn.Module, keyword: str) -> bool:
    """Tell whether the layer's ``forward`` has a parameter of this name."""
    try:
        return keyword in inspect.signature(layer.forward).parameters
    except (TypeError, ValueError):  # a forward that is no Python function
        return False


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x`` in ``dtype``; unlike ``Tensor.to``, it adds no node to a graph if ``x`` has that dtype already."""
    return x if x.dtype == dtype else x.to(dtype)
