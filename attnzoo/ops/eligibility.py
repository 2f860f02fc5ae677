"""The one place that decides whether kernels may compute an operation in place of torch.

The checks, in this order: device, dtype, memory (plain dense tensors, all on one device), modules (no hooks, no
replaced methods), the surroundings (no export, trace, functional transform or dispatch mode), and whether the kernels
were built. The first check that fails is the reason that :func:`attnzoo.ops.explain` shows.

Under ``torch.compile`` the choice "auto" leaves most operations to torch, because the compiler can fuse them with the
operations before and after, but not with an opaque operator. A backend chosen by name puts its operators into the
graph.
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
    """Which backend computed an operation, and why no kernel did.

    Attributes:
        operation: The operation's name.
        backend: ``"torch"``, ``"native"`` or ``"triton"``.
        reason: Why no kernel computed it, or None if one did.
    """

    operation: str
    backend: str
    reason: str | None


class _Noted(threading.local):
    """The decisions of this thread while ``explain`` runs, else None."""

    decisions: list[Decision] | None = None


_noted = _Noted()


def choose(
    operation: str,
    x: Tensor,
    requested: str | None,
    unfit: str | None = None,
    *,
    others: Iterable[Tensor | None] = (),
    families: tuple[str, ...] = dispatch.FAMILIES,
    compiled: bool = False,
) -> str:
    """Return the backend that computes an operation on ``x``: "torch", "native" or "triton".

    Args:
        operation: The operation's name, for ``explain``.
        x: The main tensor: its device and dtype select the kernels.
        requested: The ``backend`` argument of the operation; None means the one that ``dispatch.backend`` chose.
        unfit: Why no kernel can compute this call, or None if one can.
        others: The operation's other tensors.
        families: The kernel families that implement the operation.
        compiled: Whether "auto" keeps the native kernel as an operator in a compiled graph.

    Raises:
        RuntimeError: If kernels were asked for by name but are not available or cannot take these tensors.
        ValueError: If there is no backend of that name.
    """
    name = dispatch.chosen() if requested is None else requested
    if name == "auto":
        reason: str | None = unfit or f"there is no kernel of it for {x.device.type} tensors"
        for family in families:
            if unfit is None and x.device.type == dispatch.device_type(family):
                reason = why_not(family, x, others) or _why_left_to_torch(family, compiled)
                if reason is None:
                    return note(operation, family, None)
        return note(operation, "torch", reason)
    if requested is not None:
        dispatch.check_name(name)
    if name == "torch":
        return note(operation, name, "torch was asked for")
    if name not in families:
        unfit = "there is no such kernel of this operation"
    reason = unfit or why_not(name, x, others)
    if reason is not None:
        raise RuntimeError(f"backend {name!r} cannot do this: {reason}")
    return note(operation, name, None)


def takes_native(
    operation: str,
    x: Tensor,
    requested: str | None,
    unfit: str | None = None,
    *,
    others: Iterable[Tensor | None] = (),
    compiled: bool = False,
) -> bool:
    """Tell whether the native kernel computes an operation that has no Triton kernel; arguments as in ``choose``."""
    families = ("native",)
    return choose(operation, x, requested, unfit, others=others, families=families, compiled=compiled) == "native"


def may_fuse(operation: str, x: Tensor, unfit: str | None, *, others: Iterable[Tensor | None]) -> bool:
    """Tell whether one native kernel may compute several operations at once.

    Unlike ``choose`` it never raises: where the answer is no, a backend is chosen for each of the operations.

    Args:
        operation: The kernel's name, for ``explain``.
        x: The map.
        unfit: Why the kernel cannot compute this call, or None if it can.
        others: The other tensors.
    """
    reason = unfit
    if dispatch.chosen() not in {"auto", "native"}:
        reason = f"{dispatch.chosen()} was asked for"
    if reason is None:
        reason = why_not("native", x, others) or _why_left_to_torch("native", compiled=False)
    return note(operation, "torch" if reason else "native", reason) == "native"


def why_not(family: str, x: Tensor, others: Iterable[Tensor | None] = ()) -> str | None:
    """Return why kernels of this family may not take ``x`` and the other tensors, or None if they may."""
    if x.device.type != dispatch.device_type(family) or x.dtype not in dispatch.KERNEL_DTYPES or not plain(x):
        return (
            f"{family} kernels take plain {dispatch.device_type(family).upper()} tensors of "
            f"{', '.join(map(str, dispatch.KERNEL_DTYPES))}, got {type(x).__name__} of {x.dtype} on {x.device}"
        )
    if family == "triton" and not torch.compiler.is_compiling():
        from attnzoo.kernels.layout import LARGEST_IMAGE

        if x[:1].numel() > LARGEST_IMAGE:
            return f"triton kernels count at most {LARGEST_IMAGE} elements of an image, got {tuple(x.shape)}"
    for tensor in others:
        if tensor is not None:
            if tensor.device != x.device:
                return f"all tensors must be on the device of x, {x.device}, got one on {tensor.device}"
            if not plain(tensor):
                return "all tensors must be plain dense ones: no quantised, sharded, sparse or negated view"
    return why_surroundings_forbid() or dispatch.why_unavailable(family)


def is_plain_convolution(conv: nn.Module, size: int) -> TypeGuard[nn.Conv2d]:
    """Tell whether a module is an ungrouped ``size`` x ``size`` ``nn.Conv2d``, zero-padded to keep height and width."""
    if type(conv) is not nn.Conv2d or conv.kernel_size != (size, size) or conv.groups != 1:
        return False
    one, padding = (1, 1), (size // 2, size // 2)
    if conv.stride != one or conv.dilation != one or conv.padding_mode != "zeros":
        return False
    return conv.padding in {padding, "same"} or (size == 1 and conv.padding == "valid")


def why_surroundings_forbid() -> str | None:
    """Return which export, trace, transform or dispatch mode needs torch's operations instead of kernels, or None.

    ``torch.compile`` is no reason: its graphs may hold attnzoo's operators.
    """
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
    """Return why these modules must be called, so that no fused operation may replace the call, or None.

    They must be called if one has hooks, if ``forward`` was replaced on an instance, or if a parameter or buffer is
    quantised, sharded or sparse: a kernel cannot read its memory.

    Args:
        modules: The modules whose calls a fused operation would replace. Their submodules are not checked.
    """
    if torch_internals.has_global_module_hook():
        return "a hook on all modules waits for them to be called"
    for module in modules:
        reason = _why_module_called(module)
        if reason is not None:
            return reason
    return None


def _why_module_called(module: nn.Module) -> str | None:
    attributes = module.__dict__
    for hooks in torch_internals.INSTANCE_HOOKS:
        if attributes[hooks]:
            return f"a hook waits for {type(module).__name__} to be called"
    for method in torch_internals.INSTANCE_METHODS:
        if method in attributes:
            return f"{method} of this {type(module).__name__} was replaced"
    if torch_internals.REPLICA in attributes:
        return f"this {type(module).__name__} is a replica of nn.DataParallel, which has no parameters to be read"
    for tensors in (attributes["_parameters"], attributes["_buffers"]):
        for tensor in tensors.values():
            if tensor is not None and not plain(tensor) and not torch_internals.is_fake(tensor):
                return f"{type(module).__name__} holds a tensor that is no plain dense one"
    return None


def plain(*tensors: Tensor | None) -> bool:
    """Tell whether kernels may read the memory of all these tensors; None counts as such a tensor.

    The memory of quantised, sharded and sparse tensors, which may take the place of parameters, does not hold their
    values one by one, and that of views with the negative bit holds the negatives.
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
    """Raise if a parameter or buffer is not on the device of the map ``x``: a kernel would read invalid memory.

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
    """Tell whether a graph is being exported: code must then not compare sizes, which would restrict the graph."""
    # torch up to 2.8 cannot tell export from compile: both then count as export, whose path is correct in both cases
    return torch.compiler.is_compiling() and getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def transformed() -> bool:
    """Tell whether ``torch.func`` or forward-mode AD is at work.

    Custom autograd functions drop the tangents or raise there, so that operations take the reference path.
    """
    return not torch.compiler.is_compiling() and torch_internals.has_transform()


def plain_eager() -> bool:
    """Tell whether no compiler, tracer, transform or dispatch mode is active."""
    return not torch.compiler.is_compiling() and why_surroundings_forbid() is None


def _why_left_to_torch(family: str, compiled: bool) -> str | None:
    """Return why "auto" leaves an operation to torch although kernels could compute it, or None."""
    if family == "triton" and dispatch.INTERPRETED:
        return "Triton interprets its kernels, for tests"
    if torch.compiler.is_compiling() and not (compiled and family == "native"):
        return "torch.compile fuses it with what stands around it"
    return None


def note(operation: str, backend: str, reason: str | None) -> str:
    """Add a decision to the list of ``explain``, if that is running in this thread, and return ``backend``."""
    if not torch.compiler.is_compiling() and _noted.decisions is not None:
        _noted.decisions.append(Decision(operation, backend, reason))
    return backend


def is_noting() -> bool:
    """Tell whether ``explain`` is running in this thread: only then are reasons computed that take time."""
    return _noted.decisions is not None


@contextlib.contextmanager
def noting() -> Iterator[list[Decision]]:
    """Collect all decisions of this thread inside the ``with`` block, in the list that it yields."""
    outer, decisions = _noted.decisions, list[Decision]()
    _noted.decisions = decisions
    try:
        yield decisions
    finally:
        _noted.decisions = outer
