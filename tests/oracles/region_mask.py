"""Xia (TRA-Net), eq. (4): I_hm = M_h I. Up ends at y, low begins at y, mid is y - H/4 to y + H/4.

Row r of R covers the frame's pixels r H / R to (r + 1) H / R and belongs to a region if its middle does.
"""

from __future__ import annotations

import torch
from torch import Tensor

Region = tuple[float | None, float | None]


def region_mask(x: Tensor, centers: list[float], frame_height: int, regions: dict[str, Region]) -> dict[str, Tensor]:
    """Return the map (B, C, R, W) once a region, row by row; edges are fractions of the frame from the centre."""
    out = {name: torch.zeros_like(x) for name in regions}
    rows = x.shape[2]
    for b, center in enumerate(centers):
        for row in range(rows):
            # Everything is multiplied by 2 R, so that whole numbers stay whole and nothing is rounded.
            middle = (2 * row + 1) * frame_height
            for name, (top, bottom) in regions.items():
                begins = None if top is None else (center + top * frame_height) * 2 * rows
                ends = None if bottom is None else (center + bottom * frame_height) * 2 * rows
                if (begins is None or middle >= begins) and (ends is None or middle < ends):
                    out[name][b, :, row] = x[b, :, row]
    return out
