"""The private names of torch that attnzoo uses, all in this file: what a new version of torch may move.

Each is wrapped in a function that says what it answers. Nothing outside of this file reads them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import Variable, forward_ad
from torch.nn.modules.module import _has_any_global_hook

# ruff: noqa: SLF001
_innermost_transform = torch._C._functorch.peek_interpreter_stack
_tracing_state = torch._C._get_tracing_state
_dispatch_modes = torch._C._len_torch_dispatch_stack

INSTANCE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Attributes of a module that hold its hooks."""
REPLICA = "_is_replica"
"""Attribute that a replica of ``nn.DataParallel`` has."""
INSTANCE_METHODS = ("forward", "_call_impl", "_conv_forward")
"""Methods that people replace on a single module."""
COMPILED_CALL = "_compiled_call_impl"
"""Attribute where a module holds what ``module.compile()`` has made."""
COMPILED_FROM = "_torchdynamo_orig_callable"
"""Attribute where torch.compile notes the callable that it was given."""
MODULE_CALL_NAMES = frozenset({"_wrapped_call_impl", "_call_impl"})
"""Functions between the call of a module and its ``forward``."""
HAS_LINEAR_POINTWISE = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether torch was built with oneDNN's product of matrices that its compiler calls."""


GLOBAL_HOOKS: tuple[dict[int, Any], ...] = tuple(
    getattr(nn.modules.module, f"_global_{name}")
    for name in (
        *("backward_pre_hooks", "backward_hooks", "forward_hooks", "forward_pre_hooks"),
        *("forward_hooks_always_called", "forward_hooks_with_kwargs"),
    )
)
"""The dictionaries of hooks that wait for every module to be called."""
SURROUNDINGS: tuple[tuple[Callable[[], object], tuple[object, ...]], ...] = (
    (_innermost_transform, (None,)),
    (functools.partial(forward_ad.__dict__.get, "_current_level"), (-1,)),
    (_tracing_state, (None,)),
    (_dispatch_modes, (0,)),
)
"""What ``has_transform``, ``has_tracer`` and ``has_dispatch_mode`` ask, with the answers where nothing is at work."""


def dlpack_exchange() -> object:
    """Return the capsule with which C reads tensors as DLPack describes them; None before torch 2.10."""
    return getattr(Tensor, "__dlpack_c_exchange_api__", None)


def has_transform() -> bool:
    """Tell whether ``torch.func`` (vmap, grad, jvp) or forward-mode AD is at work."""
    return _innermost_transform() is not None or forward_ad._current_level >= 0


def has_tracer() -> bool:
    """Tell whether ``torch.jit.trace`` is at work."""
    return _tracing_state() is not None


def has_dispatch_mode() -> bool:
    """Tell whether a mode sees each operator: fake tensors, counters, selective checkpointing."""
    return bool(_dispatch_modes())


def has_global_module_hook() -> bool:
    """Tell whether a hook waits for every module to be called."""
    return bool(_has_any_global_hook())  # type: ignore[no-untyped-call]


def is_fake(tensor: Tensor) -> bool:
    """Tell whether a tensor has a shape and no values: a graph is being made."""
    return isinstance(tensor, FakeTensor)


def is_legacy_batched(tensor: Tensor) -> bool:
    """Tell whether ``torch.autograd.grad(is_grads_batched=True)`` made this tensor."""
    return bool(torch._C._functorch.is_legacy_batchedtensor(tensor))


def parameters_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return the module's own parameters by name; one read of a dictionary where an attribute takes a search."""
    return module._parameters  # type: ignore[return-value]


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return the module's own buffers by name."""
    return module._buffers


def children_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return the module's own children by name."""
    return module._modules


def call_as_written(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call a module, hooks and all, past what ``module.compile()`` has made of it."""
    return nn.Module._call_impl(module, *args, **kwargs)  # type: ignore[no-untyped-call]


def onednn_enabled() -> bool:
    """Tell whether the user lets torch use oneDNN."""
    return bool(torch._C._get_mkldnn_enabled())


def linear_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, plus ``added``, by oneDNN."""
    call: Any = torch.ops.mkldnn._linear_pointwise
    if added is None:
        return call(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return call.binary(x, added, weight, bias, "add")  # type: ignore[no-any-return]


def storage_users(storage: torch.UntypedStorage) -> int:
    """Return how many tensors, views of one another, hold a storage."""
    return int(torch._C._storage_Use_Count(storage._cdata))


def tensor_users(tensor: Tensor) -> int:
    """Return how many hold the tensor behind a Python object: that object, graphs, lists in C++."""
    return int(tensor._use_count())  # type: ignore[attr-defined]


def backward_pass() -> int:
    """Return the number of the backward pass that runs in this thread, -1 if none does."""
    return int(torch._C._current_graph_task_id())


def after_backward_pass(callback: Callable[[], None]) -> None:
    """Call a function when the backward pass that is running has ended."""
    Variable._execution_engine.queue_callback(callback)


def constant_when_compiled(function: Any) -> Any:
    """Mark a function whose result a compiled graph takes for constant.

    It is what ``torch.compiler.assume_constant_result`` does, without its import of the compiler and of triton.
    """
    function._dynamo_marked_constant = True
    return function
