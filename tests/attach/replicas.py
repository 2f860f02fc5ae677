"""What ``nn.DataParallel`` makes of a module, without the devices that it wants: replicas that run in threads."""

from __future__ import annotations

import torch
from torch import nn


def replicas(model: nn.Module, count: int) -> list[nn.Module]:
    """As ``torch.nn.parallel.replicate``: shallow copies, with plain tensors where the parameters were."""
    modules = list(model.modules())
    made = []
    for _ in range(count):
        twins = {module: module._replicate_for_data_parallel() for module in modules}
        for module, twin in twins.items():
            for name, child in module._modules.items():
                twin._modules[name] = None if child is None else twins[child]
            for name, parameter in module._parameters.items():
                if parameter is None:
                    twin._parameters[name] = None
                else:
                    setattr(twin, name, parameter.view_as(parameter) if torch.is_grad_enabled() else parameter.detach())
            twin._buffers = dict(module._buffers)
        made.append(twins[model])
    return made
