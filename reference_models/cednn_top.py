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
    weight = conv.weight.flatten(1).expand(len(x), -1, -1)
    return torch.baddbmm(conv.bias[:, None], weight, x.flatten(2)).relu_().unflatten(2, x.shape[2:])


def whole(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the ReLU of a convolution whose kernel covers all of ``x`` (B, C, H, W), as (B, C', 1, 1)."""
    if not is_plain(conv, nn.Conv2d) or conv.kernel_size != x.shape[2:]:
        return F.relu(conv(x))
    return ops.linear(x.flatten(1), conv.weight.flatten(1), conv.bias, relu=True)[:, :, None, None]
