"""fvcore's count of multiply-adds, module by module, and what it has no rule for."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from attnzoo.costs.nested import tensors


class _TensorTuple(nn.Module):
    """The model with its outputs as a tuple of tensors: the tracer takes no dicts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors(self.model(*inputs)))


def traced_macs(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Return each module's own multiply-adds by fvcore's FlopCountAnalysis, and the operators that it cannot count.

    Args:
        model: Module in evaluation mode, on a device that computes.
        inputs: What it is called with.

    Returns:
        Own counts (without submodules) by the names of ``model.named_modules()``; number of calls by operator.
    """
    with warnings.catch_warnings():
        # fvcore scripts a loss of its own at import, which newer versions of torch advise against
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        from fvcore.nn import FlopCountAnalysis
        from fvcore.nn.jit_handles import conv_flop_count, get_shape

        def same_convolution(operands: list[Any], results: list[Any]) -> dict[str, int]:
            """Count a convolution with ``padding="same"``: another operator for the tracer, unknown to fvcore."""
            return {"conv": conv_flop_count(*map(get_shape, (*operands[:2], results[0])))}

        analysis = FlopCountAnalysis(_TensorTuple(model), inputs)
        analysis.set_op_handle("aten::_convolution_mode", same_convolution)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with_submodules = {name: int(count) for name, count in analysis.by_module().items()}
    names = ["model." + name if name else "model" for name, _ in model.named_modules()]
    own = {name: with_submodules[name] for name in names}
    for name in names[1:]:
        own[name.rpartition(".")[0]] -= with_submodules[name]
    uncounted = {operator: int(count) for operator, count in sorted(analysis.unsupported_ops().items())}
    return {name.removeprefix("model").removeprefix("."): count for name, count in own.items()}, uncounted
