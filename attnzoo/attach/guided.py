"""A guided layer at a site: the maps are an argument of the whole model's forward, ``model(x, attention_maps=maps)``.

At each site the maps are brought to the size of its own: pooled by their maximum where the site is smaller (a pixel
that moved stays moved), repeated (nearest) where it is larger.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.attach.attend import Attend
from attnzoo.attach.sites import Spot
from attnzoo.attach.stack import MAPS, Tap


class GuidedAttend(Attend):
    """A layer called as ``layer(x, maps)``.

    Args:
        layer: The attention.
        spot: The tensor.
        tap: Where the model's forward leaves the maps (B, n, H, W) for as long as it runs.
        **kwargs: As for :class:`Attend`.
    """

    def __init__(self, layer: nn.Module, spot: Spot, *, tap: Tap, **kwargs: Any) -> None:
        super().__init__(layer, spot, **kwargs)
        self.tap = tap

    def receive(self) -> tuple[Tensor, ...]:
        """Return the maps, if there are any."""
        return () if self.tap.value is None else (self.tap.value,)

    def inputs(self, x: Tensor, *beside: Tensor) -> tuple[Tensor, ...]:
        """Return (x, maps), the maps in the size of ``x``.

        Raises:
            TypeError: If the model was called without maps.
        """
        if not beside:
            raise TypeError(f"the model has a guided attention: call it as model(x, {MAPS}=maps)")
        return x, resized_maps(beside[0], x)


def resized_maps(maps: Tensor, x: Tensor) -> Tensor:
    """Return the maps (B, n, H', W') in the height and width of ``x``, see the module's docstring.

    Raises:
        ValueError: If ``maps`` has no four dimensions.
    """
    if maps.dim() != 4:
        raise ValueError(f"{MAPS} must have shape (B, n, H, W), got {tuple(maps.shape)}")
    size = x.shape[2:]
    if maps.shape[2:] == size:
        return maps
    if maps.shape[2] >= size[0] and maps.shape[3] >= size[1]:
        return F.adaptive_max_pool2d(maps, (size[0], size[1]))
    return F.interpolate(maps, size=size, mode="nearest")
