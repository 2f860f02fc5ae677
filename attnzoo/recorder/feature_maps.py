"""The feature maps before and after one module, as in CEDNN's Figures 9 and 14."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attnzoo import checks, files
from attnzoo.recorder import sheet

GAP = 2
"""Pixels between two maps in a picture."""


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The input and output map of one module for one batch.

    Attributes:
        module: The module's name.
        before: Its input (B, C, H, W), detached.
        after: Its output (B, C', H', W'), detached.
    """

    module: str
    before: Tensor
    after: Tensor

    def grids(self, *, rows: int | None = None, index: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the channels before and after as two grey pictures, each a grid of one small map per channel.

        All maps share one scale, from the least value of both pictures (black) to the greatest (white), so that a
        channel is darker after the module if attention has weakened it.

        Args:
            rows: Rows of each grid, filled one after the other; by default the square root of the number of channels.
                CEDNN's Figure 14 has a row for each group of channels: 6.
            index: Index of the image in the batch.

        Raises:
            IndexError: If the batch has no such image.
            ValueError: If ``rows`` is below 1.
        """
        if not 0 <= index < len(self.before):
            raise IndexError(f"index must be below {len(self.before)}, the images of the batch, got {index}")
        low = min(self.before[index].min().item(), self.after[index].min().item())
        high = max(self.before[index].max().item(), self.after[index].max().item())
        first, second = (_grid(maps[index], rows, low, high) for maps in (self.before, self.after))
        return first, second

    def save(self, path: str | Path, *, rows: int | None = None, index: int = 0) -> None:
        """Write both pictures side by side as one PNG, atomically.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If ``path`` does not end in .png, is a folder, or its folder does not exist.
        """
        files.check_writable(Path(path), ".png")
        grids = self.grids(rows=rows, index=index)
        titles = [f"{word} {self.module}" for word in ("before", "after")]
        files.write_atomically(Path(path), sheet.draw_grids(grids, titles))


def feature_maps(model: nn.Module, module: str, *inputs: Any, **kwargs: Any) -> FeatureMaps:
    """Run the model once without gradients and return the feature maps before and after one of its modules.

    For CEDNN's Figure 14 the module is ``gates.0``, which applies the difference maps to the first block's features;
    for Figure 9 it is ``blocks.0`` or ``blocks.4``, of which the figure shows ``after``; ``block_layers.0`` is the
    channel attention behind the first block.

    Args:
        model: Any model; its mode is not changed.
        module: Name of the module, as in ``model.named_modules()``.
        *inputs: Positional arguments of the model.
        **kwargs: Keyword arguments of the model.

    Returns:
        The maps. If the module takes several maps (LLAM), ``before`` is the last one of the output's shape.

    Raises:
        TypeError: If the module's input or output is no map (B, C, H, W).
        ValueError: If the model has no such module, or does not run it.

    Example:
        >>> from attnzoo import create
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), create("se", 16))
        >>> maps = feature_maps(model, "1", torch.rand(1, 3, 8, 8))
        >>> maps.before.shape == maps.after.shape == (1, 16, 6, 6)
        True
    """
    names = [name for name, _ in model.named_modules()]
    if module not in names:
        import difflib

        close = difflib.get_close_matches(module, names, n=3, cutoff=0.3)
        raise ValueError(
            f"the model has no module {module!r}" + (f"; did you mean {', '.join(close)}?" if close else "")
        )
    seen: list[tuple[Any, Any]] = []
    handle = model.get_submodule(module).register_forward_hook(lambda _, args, output: seen.append((args, output)))
    try:
        with torch.no_grad():
            model(*inputs, **kwargs)
    finally:
        handle.remove()
    if not seen:
        raise ValueError(f"the model did not run its module {module!r}")
    args, output = seen[0]
    if not isinstance(output, Tensor) or output.dim() != 4:
        raise TypeError(f"{module!r} must give a map (B, C, H, W), got {_kind(output)}")
    maps = [each for each in args if isinstance(each, Tensor) and each.dim() == 4]
    if not maps:
        raise TypeError(f"{module!r} must take a map (B, C, H, W), got {', '.join(map(_kind, args)) or 'nothing'}")
    same = [each for each in maps if each.shape == output.shape]
    return FeatureMaps(module, (same[-1] if same else maps[0]).detach().clone(), output.detach().clone())


def _kind(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _grid(maps: Tensor, rows: int | None, low: float, high: float) -> NDArray[np.uint8]:
    """Return the maps (C, H, W) as one grid, filled row by row, with white gaps."""
    count, height, width = maps.shape
    rows = round(math.sqrt(count)) if rows is None else min(count, checks.positive_int("rows", rows))
    columns = -(-count // rows)
    levels = (maps.float() - low) / (high - low) if high > low else torch.zeros_like(maps, dtype=torch.float32)
    grey = (levels.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), 255, dtype=np.uint8)
    for index, plane in enumerate(grey):
        row, column = divmod(index, columns)
        picture[row * (height + GAP) :, column * (width + GAP) :][:height, :width] = plane
    return picture
