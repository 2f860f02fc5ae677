"""Determine which axes of a tensor are channels and grid, from its shapes at two aspect ratios if available."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attnzoo.attach.sites import Spot
from attnzoo.attach.tensors import Path

_DOUBLED = (1.5, 2.7)
"""By how much width over height grows in a map when the image's doubles: borders of small maps are rounded."""


class NoGridError(ValueError):
    """The tensor has no grid of pixels or tokens, or its axes cannot be determined."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Attributes of the model, used if it supports one image size only.

    Attributes:
        channels: Number of channels at this module, from ``feature_info``.
        prefix_tokens: Number of class and register tokens.
        channels_last: Whether its maps are NHWC (``output_fmt``).
    """

    channels: int | None = None
    prefix_tokens: int | None = None
    channels_last: bool = False


def read_spot(
    path: Path, square: tuple[int, ...], wide: tuple[int, ...] | None, image: tuple[int, ...], batch: int, hints: Hints
) -> Spot:
    """Return the spot of a tensor: its layout, channels, prefix tokens and grid.

    Args:
        path: Path of the tensor in the module's output.
        square: Its shape at the probed size.
        wide: Its shape at twice the width, or None.
        image: Height and width of the probed image; its length alone if the model takes sequences (B, C, L).
        batch: Batch size of the probe.
        hints: Attributes of the model.

    Raises:
        NoGridError: With the reason.
    """
    if len(square) not in {3, 4}:
        raise NoGridError(f"its output {square} has no grid of pixels or tokens")
    if square[0] != batch:
        raise NoGridError(f"its output {square} does not start with the batch of {batch} (windows or patches do)")
    if wide is not None and (len(wide) != len(square) or wide[0] != batch):
        raise NoGridError(f"its output changes from {square} to {wide} with the image's width")
    if wide is not None and wide == square:
        raise NoGridError(f"its output {square} stays as it is when the image gets wider: it has no grid")
    if len(image) == 1:
        return _sequence(path, square, wide)
    height, width = image
    if len(square) == 4:
        return _map(path, square, wide, (height, width), hints)
    return _tokens(path, square, wide, (height, width), hints)


def _sequence(path: Path, square: tuple[int, ...], wide: tuple[int, ...] | None) -> Spot:
    """Return where channels and positions are in what a model of sequences gives: positions grow with the input."""
    if len(square) != 3 or wide is None:
        raise NoGridError(
            f"its output {square} has no axis that is seen to be the sequence; pass example_inputs of a length that "
            "the model takes doubled as well"
        )
    moved = _moved(square, wide)
    if len(moved) != 1:
        raise NoGridError(f"its output changes from {square} to {wide} when the sequence gets longer")
    (axis,) = moved
    return Spot(path=path, layout="NLC" if axis == 1 else "NCL", channels=square[3 - axis], grid=(1, square[axis]))


def _map(
    path: Path, square: tuple[int, ...], wide: tuple[int, ...] | None, image: tuple[int, int], hints: Hints
) -> Spot:
    last = _channels_last(square, image, hints) if wide is None or wide == square else _widened(square, wide) == 2
    _, *rest = square
    height, width, channels = rest if last else (rest[1], rest[2], rest[0])
    return Spot(path=path, layout="NHWC" if last else "NCHW", channels=channels, grid=(height, width))


def _widened(square: tuple[int, ...], wide: tuple[int, ...]) -> int:
    """Return the axis of a map's width: 3, or 2 where channels are last.

    The width grows with the image's, and nothing else does. A model that resizes its images by itself keeps their
    aspect: there the height may shrink instead, and what has doubled is width over height.

    Raises:
        NoGridError: If neither is so, as with windows.
    """
    moved = _moved(square, wide)
    if len(moved) == 1:
        (axis,) = moved
        if axis > 1 and wide[axis] > square[axis]:
            return axis
    low, high = _DOUBLED
    doubled = [w for w in (3, 2) if low <= wide[w] * square[w - 1] / (wide[w - 1] * square[w]) <= high]
    if len(doubled) != 1:
        raise NoGridError(f"its output changes from {square} to {wide} with the image's width (windows?)")
    return doubled[0]


def _channels_last(shape: tuple[int, ...], image: tuple[int, int], hints: Hints) -> bool:
    _, first, second, third = shape
    nchw, nhwc = _fits((second, third), image), _fits((first, second), image)
    if hints.channels is not None and (first == hints.channels) != (third == hints.channels):
        return third == hints.channels
    if nchw != nhwc:
        return nhwc
    if not nchw:
        raise NoGridError(f"no two neighbouring axes of its output {shape} have the image's aspect ratio")
    return hints.channels_last


def _tokens(
    path: Path, square: tuple[int, ...], wide: tuple[int, ...] | None, image: tuple[int, int], hints: Hints
) -> Spot:
    moved = _moved(square, wide)
    if len(moved) > 1:
        raise NoGridError(f"its output changes from {square} to {wide} with the image's width")
    axes = sorted(moved) or ([2] if hints.channels == square[1] != square[2] else [1])
    axis = axes[0]
    length, channels = square[axis], square[3 - axis]
    if wide is not None and moved:
        prefix = 2 * length - wide[axis]
    else:
        guesses = [count for count in (hints.prefix_tokens, *range(6)) if count is not None]
        prefix = next((count for count in guesses if _grid(length - count, image)), 0)
    if prefix < 0 or length <= prefix:
        raise NoGridError(f"its output {square} holds nothing but class tokens")
    grid = _grid(length - prefix, image)
    if grid is None:
        raise NoGridError(
            f"the {length} tokens of its output {square} are no {prefix} class tokens and a grid of the image's shape"
        )
    if axis == 2 and prefix:
        raise NoGridError(f"its output {square} has class tokens behind the channels")
    return Spot(path=path, layout="NLC" if axis == 1 else "NCL", channels=channels, prefix_tokens=prefix, grid=grid)


def _moved(square: tuple[int, ...], wide: tuple[int, ...] | None) -> set[int]:
    return set() if wide is None else {axis for axis in range(len(square)) if square[axis] != wide[axis]}


def _fits(grid: tuple[int, int], image: tuple[int, int]) -> bool:
    """Tell whether a grid may be the image divided by one stride, with rounding at the border."""
    return (
        abs(grid[0] * image[1] - grid[1] * image[0]) <= 2 * max(image) if image[0] != image[1] else grid[0] == grid[1]
    )


def _grid(count: int, image: tuple[int, int]) -> tuple[int, int] | None:
    if count < 2:
        return None
    height = round(math.sqrt(count * image[0] / image[1]))
    if height < 1 or count % height:
        return None
    grid = (height, count // height)
    return grid if _fits(grid, image) else None
