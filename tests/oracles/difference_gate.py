"""Chen et al. (CEDNN), section 3.2 (3): grey >= threshold is 1, else 0; maps times the image, and then added."""

from __future__ import annotations

import torch
from torch import Tensor


def threshold_maps(difference: Tensor, thresholds: list[float]) -> Tensor:
    """Return the maps (B, T, H, W) of grey levels (B, 1, H, W), pixel by pixel."""
    batch, _, height, width = difference.shape
    out = torch.zeros(batch, len(thresholds), height, width)
    for b in range(batch):
        for t, threshold in enumerate(thresholds):
            for i in range(height):
                for j in range(width):
                    out[b, t, i, j] = 1.0 if difference[b, 0, i, j].item() >= threshold else 0.0
    return out


def stack(x: Tensor, maps: Tensor) -> Tensor:
    """Return [x : x m_1 : .. : x m_n], the network's 18 channels for an RGB face and five maps."""
    out = [x]
    for k in range(maps.shape[1]):
        product = torch.empty_like(x)
        for c in range(x.shape[1]):
            product[:, c] = x[:, c] * maps[:, k]
        out.append(product)
    return torch.cat(out, dim=1)


def in_place(x: Tensor, maps: Tensor, *, add: bool) -> Tensor:
    """Modulate group k + 1 of n + 1 by map k, pixel by pixel: x + x m (``add``) or x m; group 0 stays."""
    out = x.clone()
    size = x.shape[1] // (maps.shape[1] + 1)
    for c in range(size, x.shape[1]):
        product = x[:, c] * maps[:, c // size - 1]
        out[:, c] = x[:, c] + product if add else product
    return out
