"""Whether kernels may compute an operation in place of torch: the one place where that is decided.

The questions come in this order: device, dtype, memory (plain dense tensors, all on one device), modules (nobody waits
for them to be called, nothing about them was replaced), the surroundings (no export, no trace, no transform, no mode
that sees operators), and whether the kernels were built. The first "no" is the reason, as
:func:`attnzoo.ops.explain` shows it.

Under ``torch.compile`` the choice "auto" leaves most operations to torch: the compiler fuses them with what stands
before and behind, which an opaque operator in the graph forbids. An explicit backend puts its operators there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from attnzoo.ops import dispatch, torch_internals


class Decision(NamedTuple):
    """Who computed an operation, and why not kernels.

    Attributes:
        operation: The operation's name.
        backend: ``"torch"``, ``"native"`` or ``"triton"``.
        reason: Why no kernel computed it, or None if one did.
    """

    operation: str
    backend: str
    reason: str | None


class _Noted(threading.local):
    """Where the decisions of this thread are written down while ``explain`` runs."""

    decisions: list[Decision] | None = None


_noted = _Noted()


def choose(
    operation: str,
    x: Tensor,
    requested: str | None,
    unfit: str | None = None,
    *,
    beside: Iterable[Tensor | None] = (),
    families: tuple[str, ...] = dispatch.FAMILIES,
    compiled: bool = False,
) -> str:
    """Return the backend that computes an operation on ``x``: "torch", "native" or "triton".

    Args:
        operation: The operation's name, for ``explain``.
        x: The tensor that decides.
        requested: The ``backend`` argument of the operation; None is the context's choice.
        unfit: Why no kernel does what is asked, if none does.
        beside: The operation's other tensors.
        families: Which kernels the operation has.
        compiled: Whether "auto" keeps the native kernel as an operator in a compiled graph.

    Raises:
        RuntimeError: If kernels were asked for but are not available, or do not work on ``x``.
        ValueError: If there is no backend of that name.
    """
    name = dispatch.chosen() if requested is None else requested
    if name == "auto":
        reason: str | None = unfit or f"there is no kernel of it for {x.device.type} tensors"
        for family in families:
            if unfit is None and x.device.type == dispatch.home(family):
                reason = why_not(family, x, beside) or _why_left_to_torch(family, compiled)
                if reason is None:
                    return note(operation, family, None)
        return note(operation, "torch", reason)
    if requested is not None:
        dispatch.check_name(name)
    if name == "torch":
        return note(operation, name, "torch was asked for")
    if name not in families:
        unfit = "there is no such kernel of this operation"
    reason = unfit or why_not(name, x, beside)
    if reason is not None:
        raise RuntimeError(f"backend {name!r} cannot do this: {reason}")
    return note(operation, name, None)


def takes_native(
    operation: str,
    x: Tensor,
    requested: str | None,
    unfit: str | None = None,
    *,
    beside: Iterable[Tensor | None] = (),
    compiled: bool = False,
) -> bool:
    """Tell whether an operation that has native kernels only takes them: see ``choose``."""
    families = ("native",)
    return choose(operation, x, requested, unfit, beside=beside, families=families, compiled=compiled) == "native"


def may_fuse(operation: str, x: Tensor, unfit: str | None, *, beside: Iterable[Tensor | None]) -> bool:
    """Tell whether one native kernel may compute what several operations compute one after the other.

    Unlike ``choose`` it refuses nothing: where the answer is no, each of the operations is chosen for by itself.

    Args:
        operation: The kernel's name, for ``explain``.
        x: The map.
        unfit: Why the kernel cannot do it, if that is so.
        beside: The other tensors.
    """
    reason = unfit
    if dispatch.chosen() not in {"auto", "native"}:
        reason = f"{dispatch.chosen()} was asked for"
    if reason is None:
        reason = why_not("native", x, beside) or _why_left_to_torch("native", compiled=False)
    return note(operation, "torch" if reason else "native", reason) == "native"


def why_not(family: str, x: Tensor, beside: Iterable[Tensor | None] = ()) -> str | None:
    """Return why kernels of this family may not compute something of ``x`` and other tensors, or None if they may."""
    if x.device.type != dispatch.home(family) or x.dtype not in dispatch.KERNEL_DTYPES or not plain(x):
        return (
            f"{family} kernels take plain {dispatch.home(family).upper()} tensors of "
            f"{', '.join(map(str, dispatch.KERNEL_DTYPES))}, got {type(x).__name__} of {x.dtype} on {x.device}"
        )
    if family == "triton" and not torch.compiler.is_compiling():
        from attnzoo.kernels.layout import LARGEST_IMAGE

        if x[:1].numel() > LARGEST_IMAGE:
            return f"triton kernels count at most {LARGEST_IMAGE} elements of an image, got {tuple(x.shape)}"
    for tensor in beside:
        if tensor is not None:
            if tensor.device != x.device:
                return f"all tensors must be on the device of x, {x.device}, got one on {tensor.device}"
            if not plain(tensor):
                return "all tensors must be plain dense ones: no quantised, sharded, sparse or negated view"
    return why_surroundings_forbid() or dispatch.why_unavailable(family)


def is_plain_convolution(conv: nn.Module, size: int) -> TypeGuard[nn.Conv2d]:
    """Tell whether a module is torch's convolution, ``size`` x ``size``, that keeps a map's size, with zeros around."""
    if type(conv) is not nn.Conv2d or conv.kernel_size != (size, size) or conv.groups != 1:
        return False
    one, padding = (1, 1), (size // 2, size // 2)
    if conv.stride != one or conv.dilation != one or conv.padding_mode != "zeros":
        return False
    return conv.padding in {padding, "same"} or (size == 1 and conv.padding == "valid")


def why_surroundings_forbid() -> str | None:
    """Return who must see torch's own operations, or None if nobody must: compiled graphs may hold operators."""
    if torch.compiler.is_compiling():
        return "an exported graph holds torch's operations alone" if exporting() else None
    if torch_internals.has_transform():
        return "torch.func or forward-mode AD is at work"
    if torch_internals.has_tracer():
        return "torch.jit.trace is at work"
    if torch_internals.has_dispatch_mode():
        return "a dispatch mode (fake tensors, a counter, selective checkpointing) sees every operator"
    return None


def why_called(*modules: nn.Module) -> str | None:
    """Return why these modules must be called as they stand, so that nothing fused may take their place, or None.

    That is where hooks wait for them, where somebody has replaced ``forward`` on one of them, or where a weight is
    quantised, sharded or sparse: it knows what the module makes of it, and perhaps no more.

    Args:
        modules: What a fused operation would take the place of. Modules inside of them are not looked at.
    """
    if torch_internals.has_global_module_hook():
        return "a hook on all modules waits for them to be called"
    for module in modules:
        reason = _why_module_called(module)
        if reason is not None:
            return reason
    return None


def _why_module_called(module: nn.Module) -> str | None:
    own = module.__dict__
    for hooks in torch_internals.INSTANCE_HOOKS:
        if own[hooks]:
            return f"a hook waits for {type(module).__name__} to be called"
    for method in torch_internals.INSTANCE_METHODS:
        if method in own:
            return f"{method} of this {type(module).__name__} was replaced"
    if torch_internals.REPLICA in own:
        return f"this {type(module).__name__} is a replica of nn.DataParallel, which has no parameters to be read"
    for held in (own["_parameters"], own["_buffers"]):
        for tensor in held.values():
            if tensor is not None and not plain(tensor) and not torch_internals.is_fake(tensor):
                return f"{type(module).__name__} holds a tensor that is no plain dense one"
    return None


def plain(*tensors: Tensor | None) -> bool:
    """Tell whether kernels may read the memory of all these tensors.

    Quantised, sharded and sparse ones, which people put where parameters were, have none, or hold something else in it;
    views with the negative bit mean the negative of what their memory holds.
    """
    for t in tensors:
        if t is None:
            continue
        if (type(t) is not Tensor and type(t) is not nn.Parameter) or t.layout is not torch.strided:
            return False
        if not torch.compiler.is_compiling() and t.is_neg():  # a compiled graph resolves such views before
            return False
    return True


def require_one_device(x: Tensor, tensors: Iterable[Tensor | None]) -> None:
    """Refuse parameters that are not where the map is: a kernel would read memory that is not there.

    Raises:
        RuntimeError: If one is on another device.
    """
    for tensor in tensors:
        if tensor is not None and tensor.device != x.device:
            raise RuntimeError(
                f"x is on {x.device} and a parameter or buffer of the layer on {tensor.device}: "
                "they must be on one device"
            )


def exporting() -> bool:
    """Tell whether a graph is made for elsewhere: a size that is asked for there becomes a limit of the graph."""
    # torch up to 2.8 cannot tell export from compile: it then takes the path that is right in both
    return torch.compiler.is_compiling() and getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def transformed() -> bool:
    """Tell whether ``torch.func`` or forward-mode AD is at work.

    Autograd functions drop their tangents or refuse, so everything then goes the reference path.
    """
    return not torch.compiler.is_compiling() and torch_internals.has_transform()


def plain_eager() -> bool:
    """Tell whether nobody compiles, traces, transforms or looks at operators."""
    return not torch.compiler.is_compiling() and why_surroundings_forbid() is None


def _why_left_to_torch(family: str, compiled: bool) -> str | None:
    """Return why "auto" does not take kernels that could compute it."""
    if family == "triton" and dispatch.INTERPRETED:
        return "Triton interprets its kernels, for tests"
    if torch.compiler.is_compiling() and not (compiled and family == "native"):
        return "torch.compile fuses it with what stands around it"
    return None


def note(operation: str, backend: str, reason: str | None) -> str:
    """Write a decision down for ``explain``, if it is running in this thread, and return the backend."""
    if not torch.compiler.is_compiling() and _noted.decisions is not None:
        _noted.decisions.append(Decision(operation, backend, reason))
    return backend


def is_noting() -> bool:
    """Tell whether ``explain`` is running in this thread, for reasons that cost something to find."""
    return _noted.decisions is not None


@contextlib.contextmanager
def noting() -> Iterator[list[Decision]]:
    """Write down all decisions of this thread inside the block, into the list that it yields."""
    outer, found = _noted.decisions, list[Decision]()
    _noted.decisions = found
    try:
        yield found
    finally:
        _noted.decisions = outer
