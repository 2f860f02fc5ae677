"""Checks of arguments, also for user-defined layers; errors name the argument, its value and the allowed values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

__all__ = [
    "feature_map",
    "finite",
    "flag",
    "is_symbolic",
    "odd_kernel",
    "one_of",
    "positive_int",
    "reduced_channels",
]


def positive_int(name: str, value: Any) -> int:
    """Return ``value`` if it is an integer of at least 1.

    Raises:
        TypeError: If it is no integer; a bool is not accepted.
        ValueError: If it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def odd_kernel(name: str, value: Any) -> int:
    """Return ``value`` if it is a positive odd integer, as a kernel that keeps the map's size must be.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is even or below 1.
    """
    if positive_int(name, value) % 2 == 0:
        raise ValueError(f"{name} must be odd so that the map keeps its size, got {value}")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Check that ``value`` is one of ``allowed``.

    Raises:
        ValueError: If it is not.
    """
    allowed = tuple(allowed)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def finite(name: str, value: Any) -> float:
    """Return ``value`` as a float if it is a finite real number.

    Raises:
        TypeError: If it is no real number.
        ValueError: If it is NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def reduced_channels(channels: int, rd_ratio: float, rd_channels: int | None, rd_divisor: int) -> int:
    """Return a bottleneck's width: ``rd_channels`` if given, else ``channels * rd_ratio`` rounded to ``rd_divisor``.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If ``rd_ratio`` is not in (0, 1], or a count is below 1.
    """
    positive_int("rd_divisor", rd_divisor)
    if rd_channels is not None:
        return positive_int("rd_channels", rd_channels)
    if not 0 < finite("rd_ratio", rd_ratio) <= 1:
        raise ValueError(f"rd_ratio must be in (0, 1], got {rd_ratio}")
    return max(rd_divisor, int(channels * rd_ratio + rd_divisor / 2) // rd_divisor * rd_divisor)


def is_symbolic(x: Any) -> bool:
    """Tell whether ``x`` is a ``torch.fx.Proxy`` of a symbolic trace, which has no shape to check."""
    return isinstance(x, fx.Proxy)


def feature_map(name: str, x: Any, channels: int, like: Tensor | None = None) -> None:
    """Check that ``x`` is a floating map (B, channels, H, W) with at least one pixel, of the dtype of ``like``.

    Under autocast the dtype is not checked: casting is autocast's task. Nothing is checked in a symbolic trace.

    Raises:
        TypeError: If ``x`` is no dense tensor, not floating, or of another dtype than ``like`` (the layer's weights).
        ValueError: If its rank, channel count or size is wrong.
    """
    if not isinstance(x, Tensor):
        if is_symbolic(x):
            return
        raise TypeError(f"{name} must be a tensor (B, {channels}, H, W), got {type(x).__name__}")
    if x.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor (torch.strided), got {x.layout}")
    shape = x.shape  # read once: every read builds a tuple
    if len(shape) != 4 or shape[1] != channels:
        raise ValueError(f"{name} must have shape (B, {channels}, H, W), got {tuple(shape)}")
    if shape[2] == 0 or shape[3] == 0:
        raise ValueError(f"{name} must have at least one pixel, got shape {tuple(shape)}")
    if not x.dtype.is_floating_point:
        raise TypeError(f"{name} must be floating, got {x.dtype}")
    if like is not None and x.dtype != like.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"{name} is {x.dtype} but the layer's weights are {like.dtype}; cast one, or use autocast")
