"""A guided layer at a site: the maps are an argument of the whole model's forward, ``model(x, attention_maps=maps)``.

At each site the maps are resized to the site's map: by adaptive max pooling if it is smaller, so that marked pixels
stay marked, else by nearest-neighbour interpolation.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.attach.attend import Attend
from attnzoo.attach.context import Frame, holder
from attnzoo.attach.insert import passes
from attnzoo.attach.insert.stack import MAPS
from attnzoo.attach.sites import Spot


class GuidedAttend(Attend):
    """A layer called as ``layer(x, maps)``.

    Args:
        layer: The attention.
        spot: The tensor.
        key: Key of the maps (B, n, H, W) of the model's call; see :mod:`attnzoo.attach.context`.
        **kwargs: As for :class:`Attend`.
    """

    def __init__(self, layer: nn.Module, spot: Spot, *, key: str, **kwargs: Any) -> None:
        super().__init__(layer, spot, **kwargs)
        self.key = key

    def receive(self, x: Tensor, frame: Frame) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return the maps of the model's running call, or of the call that gradient checkpointing recomputes."""
        holding = holder(self.key, frame)
        maps = passes.recalled(self.key) if holding is None else holding[self.key]
        return () if maps is None else (maps,)

    def forward(self, x: Tensor, *extra: Tensor, **options: Any) -> Tensor:
        """Apply the layer to ``x``; return a tensor of the same layout."""
        y = super().forward(x, *extra, **options)
        passes.follow(self.key, y)
        return y

    def inputs(self, x: Tensor, *extra: Tensor) -> tuple[Tensor, ...]:
        """Return (x, maps), the maps resized to ``x``.

        Raises:
            TypeError: If the model was called without maps.
        """
        if not extra or extra[0] is None:
            raise TypeError(f"the model has a guided attention: call it as model(x, {MAPS}=maps)")
        return x, resized_maps(extra[0], x)


def resized_maps(maps: Tensor, x: Tensor) -> Tensor:
    """Return the maps (B, n, H', W') resized to the height and width of ``x``; see the module's docstring.

    Raises:
        ValueError: If ``maps`` has no four dimensions.
    """
    if maps.dim() != 4:
        raise ValueError(f"{MAPS} must have shape (B, n, H, W), got {tuple(maps.shape)}")
    size = x.shape[2:]
    if maps.device != x.device:  # a model on several devices
        maps = maps.to(x.device)
    if maps.shape[2:] == size:
        return maps
    if maps.shape[2] >= size[0] and maps.shape[3] >= size[1]:
        return F.adaptive_max_pool2d(maps, (size[0], size[1]))
    return F.interpolate(maps, size=size, mode="nearest")
