"""CEDNN's top, computed as matrix products: three convolutions, each with ReLU, and a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import ops
from reference_models.networks.cednn_blocks import is_plain


def logits(reduce: nn.Conv2d, top1: nn.Conv2d, top2: nn.Conv2d, fc: nn.Linear, x: Tensor) -> Tensor:
    """Return ``fc(relu(top2(relu(top1(relu(reduce(x)))))))`` of a small map (B, C, H, W), as (B, C').

    Args:
        reduce: A 1x1 convolution.
        top1: A convolution whose kernel covers the whole map.
        top2: A 1x1 convolution.
        fc: A linear layer.
        x: The map.
    """
    if not isinstance(x, Tensor) or not all(is_plain(module, nn.Conv2d, nn.Linear) for module in (top1, top2, fc)):
        return fc(F.relu(top2(F.relu(top1(F.relu(reduce(x)))))).flatten(1))  # type: ignore[no-any-return]
    top = [ops.LinearLayer(m.weight.flatten(1), m.bias, relu=m is not fc) for m in (top1, top2, fc)]
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    graph = traced or torch.is_grad_enabled()  # a traced graph must hold for any batch size
    if graph or reduce.bias is None or not is_plain(reduce, nn.Conv2d):
        return ops.linears(F.relu(reduce(x)).flatten(1), top)
    weight = reduce.weight.flatten(1)
    if len(x) == 1:
        pixels = x[0].flatten(1).t()
        return ops.linears(pixels, [ops.LinearLayer(weight, reduce.bias, relu=True, gathered=True), *top])
    by_pixel = x.permute(0, 2, 3, 1)
    if by_pixel.is_contiguous():
        pixels = ops.linear(by_pixel.flatten(0, 2), weight, reduce.bias, relu=True)
        return ops.linears(pixels.view(*by_pixel.shape[:3], len(weight)).movedim(3, 1).flatten(1), top)
    reduced = torch.baddbmm(reduce.bias[:, None], weight.expand(len(x), -1, -1), x.flatten(2)).relu_()
    return ops.linears(reduced.flatten(1), top)
