"""fvcore's count of multiply-adds per module, and the operators for which it has no rule."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from attnzoo.costs.nested import tensors


class _TensorTuple(nn.Module):
    """A wrapper that returns the model's outputs as a tuple of tensors, because the tracer does not support dicts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors(self.model(*inputs)))


def traced_macs(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Return each module's multiply-adds by fvcore's FlopCountAnalysis, and the operators that it cannot count.

    Args:
        model: Module in evaluation mode, not on the meta device.
        inputs: The model's positional arguments.

    Returns:
        Name of each module to its count without submodules; name of each uncounted operator to its number of calls.
    """
    with warnings.catch_warnings():
        # fvcore uses torch.jit.script at import, which newer versions of torch deprecate
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        from fvcore.nn import FlopCountAnalysis
        from fvcore.nn.jit_handles import conv_flop_count, get_shape

        def same_convolution(operands: list[Any], results: list[Any]) -> dict[str, int]:
            """Count a convolution with ``padding="same"``, in the trace another operator that fvcore does not know."""
            return {"conv": conv_flop_count(*map(get_shape, (*operands[:2], results[0])))}

        analysis = FlopCountAnalysis(_TensorTuple(model), inputs)
        analysis.set_op_handle("aten::_convolution_mode", same_convolution)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with_submodules = {name: int(count) for name, count in analysis.by_module().items()}
    names = ["model." + name if name else "model" for name, _ in model.named_modules()]
    counts = {name: with_submodules[name] for name in names}
    for name in names[1:]:
        counts[name.rpartition(".")[0]] -= with_submodules[name]
    uncounted = {operator: int(count) for operator, count in sorted(analysis.unsupported_ops().items())}
    return {name.removeprefix("model").removeprefix("."): count for name, count in counts.items()}, uncounted
