"""The cost of a model: parameters, operations and activations, each by a named counting convention.

Numbers of operations differ between papers by a factor of two and more, because they were counted differently. So each
figure is given with the name of its convention; :data:`CONVENTIONS` describes what each counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from attnzoo.costs.meter import Meter, Tally
from attnzoo.costs.nested import cloned, tensors
from attnzoo.costs.report import CONVENTIONS, Cost, LayerCost
from attnzoo.costs.tracing import traced_macs

__all__ = ["CONVENTIONS", "Cost", "LayerCost", "cost"]


def cost(model: nn.Module, *inputs: Any) -> Cost:
    """Count the cost of one forward pass of ``model`` on ``inputs``, in evaluation mode and without gradients.

    The model is run twice, once with hooks and torch's flop counter and once with fvcore's tracer. Its training flags,
    BatchNorm statistics, hooks and gradients, and torch's random state, are not changed. The inputs are cloned first.

    On the meta device the counting needs no arithmetic; torch cannot trace the model there, so that :attr:`Cost.macs`
    is None.

    Args:
        model: Any module whose outputs are tensors, or tuples, lists or dicts of them.
        *inputs: The model's arguments: tensors, or tuples, lists or dicts of them. The figures hold for their batch
            size.

    Returns:
        The totals and, in :attr:`Cost.layers`, the share of each module without its submodules.

    Raises:
        TypeError: If ``model`` is no module, or a scripted one, or there is no tensor among the inputs or the outputs.
        ValueError: If the model has lazy parameters that are not initialised yet.

    Example:
        >>> measured = cost(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 32, 32))
        >>> measured.parameters, measured.macs, measured.flops
        (224, 221184, 442368)
    """
    _check(model, inputs)
    with _undisturbed(model, inputs):
        meter = Meter(model)
        with meter:
            outputs = model(*cloned(inputs))
        if next(tensors(outputs), None) is None:
            raise TypeError(
                f"model must return tensors, or tuples, lists or dicts of them, got {type(outputs).__name__}"
            )
        on_meta = any(tensor.is_meta for tensor in (*tensors(inputs), *model.parameters()))
        macs, uncounted = (None, {}) if on_meta else traced_macs(model, cloned(inputs))
    parameters = list(model.parameters())
    return Cost(
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        macs=None if macs is None else sum(macs.values()),
        flops=sum(tally.flops for tally in meter.tallies.values()),
        thop_2019=sum(tally.thop_2019 for tally in meter.tallies.values()),
        activation_bytes=sum(tally.activation_bytes for tally in meter.tallies.values()),
        uncounted=uncounted,
        layers=tuple(_layers(model, meter.tallies, macs)),
    )


def _check(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {model!r}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model must be a plain module, got a scripted one; count it before torch.jit.script")
    if next(tensors(inputs), None) is None:
        raise TypeError(f"inputs must hold at least one tensor, got {inputs!r}")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ValueError(f"model has the lazy parameter {name!r}; run one forward pass before counting")


@contextmanager
def _undisturbed(model: nn.Module, inputs: tuple[Any, ...]) -> Iterator[None]:
    """Set evaluation mode without gradients inside the ``with`` block, and restore the state afterwards.

    The training flags are set one by one, because ``eval()`` may be overridden. The fused path of torch's
    MultiheadAttention is disabled, because neither counter can count inside it.
    """
    modes = [(module, module.training) for module in model.modules()]
    on_cuda = (tensor.device for tensor in (*tensors(inputs), *model.parameters()) if tensor.is_cuda)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=sorted({device.index for device in on_cuda})))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        for module, mode in modes:
            stack.callback(setattr, module, "training", mode)
            module.training = False
        yield


def _layers(model: nn.Module, tallies: dict[str, Tally], macs: dict[str, int] | None) -> Iterator[LayerCost]:
    """Yield the modules with a cost besides that of their submodules, in the order of definition.

    A shared parameter counts once.
    """
    seen: set[int] = set()
    for name, module in model.named_modules():
        direct = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in seen]
        seen.update(map(id, direct))
        tally = tallies[name]
        layer = LayerCost(
            name=name,
            type=type(module).__name__,
            calls=tally.calls,
            output_shape=tally.output_shape,
            parameters=sum(parameter.numel() for parameter in direct),
            macs=None if macs is None else macs[name],
            flops=tally.flops,
            thop_2019=tally.thop_2019,
            activation_bytes=tally.activation_bytes,
        )
        if any((layer.parameters, layer.macs, layer.flops, layer.thop_2019, layer.activation_bytes)):
            yield layer
