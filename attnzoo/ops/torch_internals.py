"""All private names of torch that attnzoo uses: a new version of torch may change them.

Other modules call the functions and constants of this file and read no private names themselves.
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
"""Attribute that only replicas of ``nn.DataParallel`` have."""
INSTANCE_METHODS = ("forward", "_call_impl", "_conv_forward")
"""Methods that users and libraries replace on a single instance of a module."""
COMPILED_CALL = "_compiled_call_impl"
"""Attribute of a module that holds its compiled call after ``module.compile()``."""
COMPILED_FROM = "_torchdynamo_orig_callable"
"""Attribute of a compiled function that holds the original callable."""
MODULE_CALL_NAMES = frozenset({"_wrapped_call_impl", "_call_impl"})
"""Names of the functions on the stack between the call of a module and its ``forward``."""
HAS_LINEAR_POINTWISE = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether torch was built with oneDNN's linear operator, which torch's compiler calls."""


GLOBAL_HOOKS: tuple[dict[int, Any], ...] = tuple(
    getattr(nn.modules.module, f"_global_{name}")
    for name in (
        *("backward_pre_hooks", "backward_hooks", "forward_hooks", "forward_pre_hooks"),
        *("forward_hooks_always_called", "forward_hooks_with_kwargs"),
    )
)
"""The dictionaries of the hooks that run at every module's call."""
SURROUNDINGS: tuple[tuple[Callable[[], object], tuple[object, ...]], ...] = (
    (_innermost_transform, (None,)),
    (functools.partial(forward_ad.__dict__.get, "_current_level"), (-1,)),
    (_tracing_state, (None,)),
    (_dispatch_modes, (0,)),
)
"""The functions behind ``has_transform``, ``has_tracer`` and ``has_dispatch_mode``, each with the values that it
returns when none is active."""


def dlpack_exchange() -> object:
    """Return the capsule of DLPack's C exchange API, by which C code reads tensors; None before torch 2.10."""
    return getattr(Tensor, "__dlpack_c_exchange_api__", None)


def has_transform() -> bool:
    """Tell whether ``torch.func`` (vmap, grad, jvp) or forward-mode AD is active."""
    return _innermost_transform() is not None or forward_ad._current_level >= 0


def has_tracer() -> bool:
    """Tell whether ``torch.jit.trace`` is running."""
    return _tracing_state() is not None


def has_dispatch_mode() -> bool:
    """Tell whether a dispatch mode is active: fake tensors, FLOP counters, selective checkpointing."""
    return bool(_dispatch_modes())


def has_global_module_hook() -> bool:
    """Tell whether a global hook is registered, which runs at every module's call."""
    return bool(_has_any_global_hook())  # type: ignore[no-untyped-call]


def is_fake(tensor: Tensor) -> bool:
    """Tell whether a tensor is fake: it has a shape but no values, because a graph is being captured."""
    return isinstance(tensor, FakeTensor)


def is_legacy_batched(tensor: Tensor) -> bool:
    """Tell whether ``torch.autograd.grad(is_grads_batched=True)`` made this tensor."""
    return bool(torch._C._functorch.is_legacy_batchedtensor(tensor))


def parameters_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return a module's direct parameters by name; faster than reading attributes, which searches dictionaries."""
    return module._parameters  # type: ignore[return-value]


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return a module's direct buffers by name."""
    return module._buffers


def children_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return a module's direct children by name."""
    return module._modules


def call_as_written(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call a module with its hooks, but not its compiled form if ``module.compile()`` made one."""
    return nn.Module._call_impl(module, *args, **kwargs)  # type: ignore[no-untyped-call]


def onednn_enabled() -> bool:
    """Tell whether ``torch.backends.mkldnn`` is enabled."""
    return bool(torch._C._get_mkldnn_enabled())


def linear_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, plus ``added`` if given, by oneDNN."""
    call: Any = torch.ops.mkldnn._linear_pointwise
    if added is None:
        return call(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return call.binary(x, added, weight, bias, "add")  # type: ignore[no-any-return]


def storage_users(storage: torch.UntypedStorage) -> int:
    """Return how many tensors share a storage."""
    return int(torch._C._storage_Use_Count(storage._cdata))


def tensor_users(tensor: Tensor) -> int:
    """Return how many references there are to the C++ tensor behind a Python one: the latter, graphs, lists in C++."""
    return int(tensor._use_count())  # type: ignore[attr-defined]


def backward_pass() -> int:
    """Return the identifier of the backward pass that runs in this thread, or -1."""
    return int(torch._C._current_graph_task_id())


def after_backward_pass(callback: Callable[[], None]) -> None:
    """Call a function when the backward pass that is running has ended."""
    Variable._execution_engine.queue_callback(callback)


def constant_when_compiled(function: Any) -> Any:
    """Mark a function whose result compiled graphs treat as a constant, and return it.

    ``torch.compiler.assume_constant_result`` does the same, but imports the compiler and triton.
    """
    function._dynamo_marked_constant = True
    return function
