"""A paired layer at a site: where F_pre comes from, and what happens where its shape is not that of F_cur.

``previous`` says where from: ``"input"``, what the site's module is called with; ``"first_conv"``, what the first
``nn.Conv2d`` inside it (in order of registration) returns; or the name of any module inside it, relative to it. Where
the shapes differ, ``on_mismatch="skip"`` leaves the site out, and ``"project"`` puts a learned 1x1 convolution without
bias on F_pre, which is then averaged down (adaptive pooling) or interpolated up (bilinear) to the size of F_cur.
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
        key: Under which the previous tensor is handed over, see :mod:`attnzoo.attach.context`.
        inside: Name, relative to the site, of the module whose output the previous tensor is; None where it is an
            input.
        previous: The previous tensor: layout, channels, grid.
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
        held = holder(self.key, frame)
        value = None if held is None else held[self.key]
        if value is None and self.inside is not None and is_traced(x):
            value = output_of(self, self.inside, x)
        return () if value is None else (value,)

    def inputs(self, x: Tensor, *beside: Tensor) -> tuple[Tensor, ...]:
        """Return (previous, current), both of the shape of ``x``.

        Raises:
            RuntimeError: If the module that hands over the previous map did not run.
        """
        if not beside:
            raise RuntimeError("a paired layer has no previous map: the module that hands it over did not run before")
        previous = to_map(beside[0], self.previous).to(x.dtype)
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
    """Return the name of the module whose tensor is F_pre, and whether it is its input (else its output).

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
    """Return the shape of the first tensor that the module took or gave in a forward pass, None where it had none."""
    if name not in trace.calls:
        return None
    call = trace.calls[name][-1]
    return next(iter(call.took), None) if is_input else next((seen.shape for seen in call.gave), None)


def previous_spot(shape: tuple[int, ...] | None, current: Spot) -> Spot | None:
    """Return layout, channels and grid of F_pre, in the layout of the current tensor; None where it has another."""
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
