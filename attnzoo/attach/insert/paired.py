"""A paired layer at a site: the source of the previous map F_pre, and how it is fitted to the shape of F_cur.

``previous`` is the source: ``"input"``, the input of the site's module; ``"first_conv"``, the output of the first
``nn.Conv2d`` inside it (in order of registration); or the name of any module inside it, relative to it. If the shapes
differ, ``on_mismatch="skip"`` leaves the site out, and ``"project"`` applies a learned 1x1 convolution without bias to
F_pre and resizes it to F_cur, by adaptive average pooling or bilinear interpolation.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.attach.attend import Attend
from attnzoo.attach.context import Frame, holder
from attnzoo.attach.find.trace import Trace
from attnzoo.attach.insert.symbolic import is_traced, output_of
from attnzoo.attach.layout import to_map
from attnzoo.attach.sites import Spot

Mismatch = Literal["skip", "project"]


class PairedAttend(Attend):
    """A layer called as ``layer(previous, current)``.

    Args:
        layer: The attention.
        spot: The current tensor.
        key: Key of the previous tensor; see :mod:`attnzoo.attach.context`.
        inside: Name, relative to the site, of the module whose output is the previous tensor; None if it is an input.
        previous: Layout, channels and grid of the previous tensor.
        **kwargs: As for :class:`Attend`.
    """

    def __init__(
        self, layer: nn.Module, spot: Spot, *, key: str, inside: str | None, previous: Spot, **kwargs: Any
    ) -> None:
        super().__init__(layer, spot, **kwargs)
        self.key = key
        self.inside = inside
        self.previous = previous
        same = (previous.channels, previous.grid) == (spot.channels, spot.grid)
        self.project = (
            None
            if same
            else nn.Conv2d(
                previous.channels, spot.channels, 1, bias=False, device=kwargs["device"], dtype=kwargs["dtype"]
            )
        )

    def receive(self, x: Tensor, frame: Frame) -> tuple[Tensor, ...]:
        """Return the previous tensor."""
        holding = holder(self.key, frame)
        value = None if holding is None else holding[self.key]
        if value is None and self.inside is not None and is_traced(x):
            value = output_of(self, self.inside, x)
        return () if value is None else (value,)

    def inputs(self, x: Tensor, *extra: Tensor) -> tuple[Tensor, ...]:
        """Return (previous, current), both of the shape of ``x``.

        Raises:
            RuntimeError: If the module whose output is the previous map did not run.
        """
        if not extra:
            raise RuntimeError("a paired layer has no previous map: the module that hands it over did not run before")
        previous = to_map(extra[0], self.previous).to(x.dtype)
        if self.project is not None:
            previous = _resized(self.project(previous), x).to(x.dtype)
        return previous, x


def _resized(previous: Tensor, current: Tensor) -> Tensor:
    size = current.shape[2:]
    if previous.shape[2:] == size:
        return previous
    if previous.shape[2] >= size[0] and previous.shape[3] >= size[1]:
        return F.adaptive_avg_pool2d(previous, (size[0], size[1]))
    return F.interpolate(previous, size=size, mode="bilinear", align_corners=False)


def previous_module(name: str, site: nn.Module, previous: str) -> tuple[str, bool]:
    """Return the name of the module whose input or output is F_pre, and whether it is the input.

    Args:
        name: The site's name.
        site: The site's module.
        previous: ``"input"``, ``"first_conv"`` or the name of a module inside the site.

    Raises:
        ValueError: If the site has no such module.
    """
    if previous == "input":
        return name, True
    inside = {child_name: child for child_name, child in site.named_modules() if child_name}
    chosen = previous
    if previous == "first_conv":
        chosen = next((child_name for child_name, child in inside.items() if isinstance(child, nn.Conv2d)), "")
        if not chosen:
            raise ValueError(f"previous='first_conv' but there is no nn.Conv2d inside {name!r}; use previous='input'")
    if chosen not in inside:
        raise ValueError(
            f"previous must be 'input', 'first_conv' or the name of a module inside {name!r} "
            f"({', '.join(list(inside)[:8])}, ...), got {previous!r}"
        )
    return f"{name}.{chosen}".lstrip("."), False


def observed_shape(trace: Trace, name: str, is_input: bool) -> tuple[int, ...] | None:
    """Return the shape of a module's first input or output tensor in a recorded forward pass, or None."""
    if name not in trace.calls:
        return None
    call = trace.calls[name][-1]
    return next(iter(call.input_shapes), None) if is_input else next((seen.shape for seen in call.outputs), None)


def previous_spot(shape: tuple[int, ...] | None, current: Spot) -> Spot | None:
    """Return layout, channels and grid of F_pre from its shape; None if its layout is not the current tensor's."""
    if shape is None or len(shape) != len(current.layout):
        return None
    if current.layout == "NCHW":
        return Spot(layout="NCHW", channels=shape[1], grid=(shape[2], shape[3]))
    if current.layout == "NHWC":
        return Spot(layout="NHWC", channels=shape[3], grid=(shape[1], shape[2]))
    tokens = current.grid[0] * current.grid[1] + current.prefix_tokens
    length, channels = (shape[1], shape[2]) if current.layout == "NLC" else (shape[2], shape[1])
    if length != tokens:
        return None
    return Spot(layout=current.layout, channels=channels, grid=current.grid, prefix_tokens=current.prefix_tokens)
