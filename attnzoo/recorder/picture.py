"""Gates as pictures: spatial gates as planes and as overlays on the image, channel gates as vectors."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attnzoo import extras

COLORS = "inferno"
OPACITY = 0.6


def planes(gates: Mapping[str, Tensor], index: int) -> dict[str, NDArray[np.float32]]:
    """Return each gate with more than one pixel as a plane (h, w), averaged over its channels."""
    return {
        name: _of_image(name, gate, index).float().mean(0).cpu().numpy()
        for name, gate in gates.items()
        if gate.dim() == 4 and gate.shape[2] * gate.shape[3] > 1
    }


def channels(gates: Mapping[str, Tensor], index: int) -> dict[str, NDArray[np.float32]]:
    """Return each gate with one pixel or none as a vector (C,)."""
    return {
        name: _of_image(name, gate, index).float().flatten().cpu().numpy()
        for name, gate in gates.items()
        if gate.dim() == 2 or gate.shape[2] * gate.shape[3] == 1
    }


def overlays(
    image: NDArray[np.uint8] | Tensor, planes: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.uint8]]:
    """Return each plane as a colour overlay on the grey image, from its least value (dark) to its greatest (bright)."""
    pixels = as_pixels(image)
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
    colors = matplotlib("matplotlib").colormaps[COLORS]
    pictures = {}
    for name, plane in planes.items():
        low, high = plane.min(), plane.max()
        level = (plane - low) / (high - low) if high > low else np.full_like(plane, 0.5)
        wide = F.interpolate(torch.from_numpy(level)[None, None], grey.shape, mode="bilinear", align_corners=False)
        shade = colors(wide[0, 0].numpy())[..., :3]
        blended = OPACITY * shade + (1 - OPACITY) * grey[..., None]
        pictures[name] = (blended * 255).round().astype(np.uint8)
    return pictures


def as_pixels(image: Any) -> NDArray[np.uint8]:
    """Return the image as pixels (H, W, 3), uint8.

    Raises:
        TypeError: If it is neither an array of uint8 nor a floating tensor.
        ValueError: If its shape is not (H, W, 3) or (3, H, W), or a tensor is not in 0 to 1.
    """
    if isinstance(image, Tensor):
        if not image.dtype.is_floating_point:
            raise TypeError(f"image must be a floating tensor (3, H, W), got {image.dtype}")
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"image must have shape (3, H, W), got {tuple(image.shape)}")
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise ValueError(
                f"image must lie in 0 to 1, got {image.min().item():g} to {image.max().item():g}: not normalised"
            )
        image = (image.detach().float().permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"image must be an array (H, W, 3) of uint8 or a tensor (3, H, W), got {kind}")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must have shape (H, W, 3), got {image.shape}")
    return image


def shrunk(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) with no side longer than ``longest``."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.array(image)


def matplotlib(module: str) -> ModuleType:
    """Import and return a module of matplotlib.

    Raises:
        ImportError: If it is not installed; the message says how to install it.
    """
    return extras.load(module, extra="report", what="pictures")


def _of_image(name: str, gate: Tensor, index: int) -> Tensor:
    """Return the gate of image ``index`` of the batch; a gate with batch size 1 is shared by all images."""
    if gate.shape[0] == 1:
        index = 0
    if not 0 <= index < gate.shape[0]:
        raise IndexError(f"index must be below {gate.shape[0]}, the images kept of {name}, got {index}")
    return gate[index]
