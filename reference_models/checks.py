"""Checks of the networks' arguments, with error messages in the form of :mod:`attnzoo.checks`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from attnzoo.checks import feature_map, flag, one_of, positive_int

__all__ = ["flag", "images", "multiple_of", "one_of", "positive_int"]


def multiple_of(name: str, value: Any, base: int) -> int:
    """Return ``value`` if it is a positive multiple of ``base``.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below 1 or not a multiple of ``base``.
    """
    if positive_int(name, value) % base:
        raise ValueError(f"{name} must be a multiple of {base}, got {value}")
    return int(value)


def images(name: str, x: Any, image_size: int | None = None) -> None:
    """Check that ``x`` holds floating RGB images (B, 3, H, W), with H = W = ``image_size`` unless that is None.

    Raises:
        TypeError: If ``x`` is not a floating tensor.
        ValueError: If its shape does not fit.
    """
    feature_map(name, x, 3)
    if isinstance(x, Tensor) and image_size is not None and x.shape[2:] != (image_size, image_size):
        raise ValueError(f"{name} must have shape (B, 3, {image_size}, {image_size}), got {tuple(x.shape)}")
