"""Count one forward pass per module by hooks: torch's flop counter, thop's rule of 2019, and activation bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from torch import nn
from torch.utils.hooks import RemovableHandle

from attnzoo.costs.nested import tensors


@dataclass(slots=True)
class Tally:
    """The counts of one module without the modules that it called, summed over its calls."""

    calls: int = 0
    flops: int = 0
    thop_2019: int = 0
    activation_bytes: int = 0
    output_shape: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Call:
    name: str
    called_another: bool = False


class Meter:
    """Context manager that counts the operations of ``model`` and its submodules.

    Attributes:
        tallies: One :class:`Tally` for each name of ``model.named_modules()``.
    """

    def __init__(self, model: nn.Module) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # imports triton if installed

        from attnzoo.costs.attention import cpu_attention

        self._names = {module: name for name, module in model.named_modules()}
        self.tallies = {name: Tally() for name in self._names.values()}
        self._flop_counter = FlopCounterMode(display=False, custom_mapping=cpu_attention())
        self._flops_settled = 0
        self._calls: list[_Call] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Register the hooks and start the flop counter."""
        for module in self._names:
            self._handles.append(module.register_forward_pre_hook(self._before))
            self._handles.append(module.register_forward_hook(self._after))
        self._flop_counter.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the flop counter and remove the hooks."""
        self._flop_counter.__exit__(*exception)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def _before(self, module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self._settle_flops()
        if self._calls:
            self._calls[-1].called_another = True
        self._calls.append(_Call(self._names[module]))

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._settle_flops()
        call = self._calls.pop()
        tally = self.tallies[call.name]
        tally.calls += 1
        tally.thop_2019 += thop_2019(module, inputs, output)
        outputs = list(tensors(output))
        if outputs:
            tally.output_shape = tuple(outputs[0].shape)
        if not call.called_another:
            received = {id(tensor) for tensor in tensors(inputs)}
            tally.activation_bytes += sum(each.nbytes for each in outputs if id(each) not in received)

    def _settle_flops(self) -> None:
        """Add the operations since the last event to the module that was running."""
        total = self._flop_counter.get_total_flops()
        if self._calls:
            self.tallies[self._calls[-1].name].flops += total - self._flops_settled
        self._flops_settled = total


def thop_2019(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    """Return the operations of one call of ``module`` by the rule of the ``thop`` package of 2019.

    Per output element, a convolution counts one operation per weight plus one for a bias, Linear ``2 * in_features``,
    AdaptiveAvgPool2d the size of its window plus 1, and AvgPool2d the product of the numbers in ``kernel_size`` plus 1.
    (So a kernel given as 2 counts 3, not 5: thop computed it so, and DenseNet-121's published figure agrees.) BatchNorm
    counts 4 per element, every other module 0. Operations called through ``torch.nn.functional`` are not counted.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        weights: int = module.in_channels // module.groups * math.prod(module.kernel_size)
        return _elements(output) * (weights + (module.bias is not None))
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm):
        return _elements(inputs) * 4
    if isinstance(module, nn.Linear):
        return _elements(output) * 2 * module.in_features
    if isinstance(module, nn.AdaptiveAvgPool2d):
        (x,) = tensors(inputs)
        window: int = math.prod(size // pooled for size, pooled in zip(x.shape[-2:], output.shape[-2:], strict=True))
        return _elements(output) * (window + 1)
    if isinstance(module, nn.AvgPool2d):
        kernel = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,)
        return _elements(output) * (math.prod(kernel) + 1)
    return 0


def _elements(value: Any) -> int:
    return sum(tensor.numel() for tensor in tensors(value))
