"""The three convolutions of CEDNN's top, each with its ReLU, as the products of matrices that they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import ops
from reference_models.cednn_inference import is_plain


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the ReLU of a 1x1 convolution of a small map (B, C, H, W)."""
    if torch.is_grad_enabled() or not is_plain(conv, nn.Conv2d) or conv.bias is None:
        return F.relu(conv(x))
    batch, channels, height, width = x.shape
    weight = conv.weight.flatten(1)
    if batch != 1:
        y = torch.baddbmm(conv.bias[:, None], weight.expand(batch, -1, -1), x.flatten(2)).relu_()
        return y.unflatten(2, (height, width))
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    return ops.linear(pixels, weight, conv.bias, relu=True).t().reshape(1, -1, height, width)


def whole(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the ReLU of a convolution whose kernel covers all of ``x`` (B, C, H, W), as (B, C', 1, 1)."""
    if not is_plain(conv, nn.Conv2d) or conv.kernel_size != x.shape[2:]:
        return F.relu(conv(x))
    return ops.linear(x.flatten(1), conv.weight.flatten(1), conv.bias, relu=True)[:, :, None, None]
