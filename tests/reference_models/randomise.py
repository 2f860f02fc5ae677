"""Parameters and running statistics away from their special starting values, so that nothing cancels."""

import torch
from torch import nn


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.data.copy_(noise * (high - low) + low)

    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            draw(child.weight, 0.5, 1.5)
            draw(child.bias, -0.2, 0.4)
            draw(child.running_mean, -0.2, 0.2)
            draw(child.running_var, 0.5, 1.5)
    return module
