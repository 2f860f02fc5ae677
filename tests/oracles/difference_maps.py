"""Chen et al. (CEDNN), section 3.2: polygon of jaw and brows, mask, grey difference inside it, five thresholds."""

from __future__ import annotations

import torch
from torch import Tensor


def polygon(points: Tensor, margin: float) -> Tensor:
    """Return the corners (28, 2): jaw inward, left brow up, the point between the brows, right brow up."""
    points = points.double()
    middle = points[:27].sum(0) / 27
    corners = []
    for number in range(17):
        x, y = points[number].tolist()
        to_x, to_y = middle[0].item() - x, middle[1].item() - y
        length = (to_x**2 + to_y**2) ** 0.5
        corners.append([x + margin * to_x / length, y + margin * to_y / length])
    corners += [[points[number, 0].item(), points[number, 1].item() - margin] for number in (26, 25, 24, 23, 22)]
    inner = max(points[21, 1].item(), points[22, 1].item())
    corners.append([(points[21, 0].item() + points[22, 0].item()) / 2, 2 * inner - points[27, 1].item()])
    corners += [[points[number, 0].item(), points[number, 1].item() - margin] for number in (21, 20, 19, 18, 17)]
    return torch.tensor(corners, dtype=torch.float64)


def inside(corners: Tensor, size: int) -> Tensor:
    """Return (size, size) of 0 and 1: does a ray to the right of the pixel's centre cross an odd number of edges."""
    y, x = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    odd = torch.zeros(size, size, dtype=torch.bool)
    for (x1, y1), (x2, y2) in zip(corners.tolist(), corners.roll(-1, 0).tolist(), strict=True):
        if y1 != y2:
            crossed = (min(y1, y2) <= y) & (y < max(y1, y2))
            odd ^= crossed & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return odd.double()


def levels(neutral: Tensor, action: Tensor, mask: Tensor) -> Tensor:
    """Return the grey levels (H, W) of the absolute difference of pictures (H, W, 3) inside the mask."""
    red, green, blue = ((neutral.double() - action.double()).abs() * mask[:, :, None]).unbind(-1)
    # in thousandths, where each product is a whole number and float64 rounds nothing before the end
    return torch.floor((299 * red + 587 * green + 114 * blue + 500) / 1000)


def maps(grey: Tensor, thresholds: list[float]) -> Tensor:
    """Return the maps (T, H, W)."""
    return torch.stack([torch.where(grey >= threshold, 1.0, 0.0) for threshold in thresholds])


def mean_variance(grey: Tensor, rows: int, columns: int, smallest: float) -> Tensor:
    """Return the rejected map (H, W), H and W multiples of rows and columns."""
    grey = grey.double()
    height, width = grey.shape[0] // rows, grey.shape[1] // columns
    out = torch.zeros_like(grey)
    for i in range(rows):
        for j in range(columns):
            part = (slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width))
            region = grey[part]
            mean = region.sum() / region.numel()
            if ((region - mean) ** 2).sum() / region.numel() >= smallest:
                out[part] = torch.where(region > mean, 1.0, 0.0)
    return out
