"""Which implementation computes an operation: the one place where that is decided.

``torch`` is the traceable reference path, right everywhere. ``native`` are the C++ kernels for CPU tensors, ``triton``
the Triton kernels for CUDA tensors. Both families are launched by functions of the same names and arguments: see
``launcher``.

Under ``torch.compile`` "auto" leaves CUDA tensors to the reference path: what the compiler generates from it moves no
more bytes than these kernels do forward, fewer with the backward pass, where it writes the gradient of a map once, and
fuses with what stands before and behind. An explicit "triton" puts the operators into the graph.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from attnzoo import checks

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FAMILIES = ("native", "triton")
"""The backends that are kernels."""
OLDEST_CAPABILITY = (8, 0)
"""Of a CUDA device; the Triton kernels are built and checked for this and newer ones."""
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "on", "yes", "y"}
"""Whether Triton interprets its kernels, on CPU tensors, as in the tests of the kernels."""
P = ParamSpec("P")
R = TypeVar("R")


class _Chosen(threading.local):
    """The context's choice, a thread's own: torch.compile reads context variables only since torch 2.14."""

    name = "auto"


_chosen = _Chosen()


class BackendInfo(NamedTuple):
    """Whether a backend is there, and what it is or why it is missing."""

    available: bool
    detail: str


def backends() -> dict[str, BackendInfo]:
    """Return every backend by name, with the reason where one is missing."""
    return {"torch": BackendInfo(True, f"torch {torch.__version__}"), "native": _native(), "triton": _triton()}


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Compute all operations inside the block, in this thread, by one backend.

    Args:
        name: ``"auto"``, the default, takes the fastest that can run; any other name raises where it cannot.

    Raises:
        RuntimeError: If the backend is not available.
        ValueError: If there is no backend of that name.
    """
    _check_name(name)
    before, _chosen.name = _chosen.name, name
    try:
        yield
    finally:
        _chosen.name = before


def choose(
    x: Tensor,
    requested: str | None,
    unfit: str | None = None,
    *,
    beside: tuple[Tensor | None, ...] = (),
    families: tuple[str, ...] = FAMILIES,
) -> str:
    """Return the backend that computes an operation on ``x``: "torch", "native" or "triton".

    Args:
        x: The tensor that decides.
        requested: The ``backend`` argument of the operation; None is the context's choice.
        unfit: Why no kernel does what is asked, if none does.
        beside: The operation's other tensors: kernels need them where ``x`` is, and ``readable``.
        families: Which kernels the operation has.

    Raises:
        RuntimeError: If kernels were asked for but are not available, or do not work on ``x``.
        ValueError: If there is no backend of that name.
    """
    name = _chosen.name if requested is None else requested
    unfit = unfit or _unfit_beside(x, beside)
    if name == "auto":
        if unfit is not None or _traced_or_transformed():
            return "torch"
        return next((family for family in families if _serves(family, x)), "torch")
    if requested is not None:
        _check_name(name)
    if name == "torch":
        return name
    if name not in families:
        unfit = "there is no such kernel of this operation"
    if unfit is not None:
        raise RuntimeError(f"backend {name!r} cannot do this: {unfit}")
    if not _fits(name, x):
        raise RuntimeError(
            f"backend {name!r} takes plain {_home(name).upper()} tensors of {', '.join(map(str, KERNEL_DTYPES))}, "
            f"got {type(x).__name__} of {x.dtype} on {x.device}"
        )
    if _traced_or_transformed():
        raise RuntimeError(
            f"backend {name!r} works in no exported graph and under no torch.func, forward-mode AD or dispatch mode"
        )
    return name


UNREADABLE = "all tensors must be plain dense ones"
"""Why no kernel takes tensors that are not ``readable``."""


def readable(*tensors: Tensor | None) -> bool:
    """Tell whether kernels may read the memory of all these tensors.

    Quantised, sharded and sparse ones, which people put where parameters were, have none, or hold something else in it:
    what they are worth is known to their own operators alone.
    """
    for t in tensors:
        if t is not None and not ((type(t) is Tensor or type(t) is nn.Parameter) and t.layout is torch.strided):
            return False
    return True


def _unfit_beside(x: Tensor, beside: tuple[Tensor | None, ...]) -> str | None:
    if any(t is not None and t.device != x.device for t in beside):
        return f"all tensors must be on the device of x, {x.device}"
    return None if readable(*beside) else UNREADABLE


def native_in_eager(x: Tensor) -> bool:
    """Tell what ``choose(x, None) == "native"`` tells, where no compiler traces, in fewer steps.

    Each function that is called here after a large network's work has left the cache, and costs microseconds.
    """
    if readable(x) and x.is_cpu and x.dtype in KERNEL_DTYPES and native_is_built():
        transform = _peek_transform() is not None or forward_ad._current_level >= 0  # noqa: SLF001
        if not transform and _traced() is None and _dispatch_modes() == 0:
            return _chosen.name in {"auto", "native"} or choose(x, None) == "native"
    return choose(x, None) == "native"


def takes_native(x: Tensor, requested: str | None, unfit: str | None = None) -> bool:
    """Tell whether an operation that has native kernels only takes them: see ``choose``."""
    return choose(x, requested, unfit, families=("native",)) == "native"


def launcher(x: Tensor, on_cpu: str = "launch") -> ModuleType:
    """Return the module that launches the kernels for the device of ``x``.

    The families' functions have the same names and arguments, so that an operator has one implementation for all
    devices. Those for the CPU are in several modules, of which ``on_cpu`` names one.
    """
    if x.device.type == _home("triton"):
        from attnzoo.kernels.triton import launch as on_cuda

        return on_cuda
    return importlib.import_module(f"attnzoo.kernels.cpu.{on_cpu}")


def operator(name: str, implementation: Callable[P, R]) -> Callable[P, R]:
    """Return the operator ``attnzoo::name``, or what computes it where nobody looks at operators.

    Compilers, counters and fake tensors must see the operator. In plain eager mode they are absent, and going through
    the dispatcher to Python would cost as much as a small map's whole layer.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():  # noqa: SLF001
        found: Callable[P, R] = getattr(torch.ops.attnzoo, name)
        return found
    return implementation


_peek_transform = torch._C._functorch.peek_interpreter_stack  # noqa: SLF001
_traced = torch._C._get_tracing_state  # noqa: SLF001
_dispatch_modes = torch._C._len_torch_dispatch_stack  # noqa: SLF001


def exporting() -> bool:
    """Tell whether a graph is made for elsewhere: a size that is asked for there becomes a limit of the graph."""
    # torch up to 2.8 cannot tell export from compile: it then takes the path that is right in both
    return torch.compiler.is_compiling() and getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def transformed() -> bool:
    """Tell whether functorch (``vmap``, ``grad``, ``jvp``) or forward-mode AD is at work.

    Autograd functions drop their tangents or refuse, so everything then goes the reference path.
    """
    if torch.compiler.is_compiling():
        return False
    return _peek_transform() is not None or forward_ad._current_level >= 0  # noqa: SLF001


def plain_eager() -> bool:
    """Tell whether nobody traces, transforms or looks at operators: counters, fake tensors, selective checkpointing."""
    return not torch.compiler.is_compiling() and _traced() is None and _dispatch_modes() == 0 and not transformed()


def _traced_or_transformed() -> bool:
    return exporting() if torch.compiler.is_compiling() else not plain_eager()


def _home(family: str) -> str:
    """Return the type of the devices whose tensors the kernels take."""
    return "cpu" if family == "native" or INTERPRETED else "cuda"


def _fits(family: str, x: Tensor) -> bool:
    return readable(x) and (x.is_cpu if _home(family) == "cpu" else x.is_cuda) and x.dtype in KERNEL_DTYPES


def _serves(family: str, x: Tensor) -> bool:
    """Tell whether "auto" takes these kernels."""
    if not _fits(family, x):
        return False
    if family == "triton":
        return not torch.compiler.is_compiling() and not INTERPRETED and _available(family)
    return _available(family)


def _check_name(name: str) -> None:
    if name in ("auto", "torch") or (name in FAMILIES and _available(name)):
        return
    known = backends()
    checks.one_of("backend", name, ("auto", *known))
    if name != "auto" and not known[name].available:
        raise RuntimeError(f"backend {name!r} is not available: {known[name].detail}")


def _available(family: str) -> bool:
    """Tell what ``backends`` tells of the kernels, without its words: every operation asks this."""
    return native_is_built() if family == "native" else _triton().available


# what torch.compiler.assume_constant_result does, without its import of the compiler and of triton
_available._dynamo_marked_constant = True  # type: ignore[attr-defined] # noqa: SLF001
_check_name._dynamo_marked_constant = True  # type: ignore[attr-defined] # noqa: SLF001


@functools.cache
def native_is_built() -> bool:
    """Tell whether there are native kernels, and CPU tensors are theirs."""
    from attnzoo.kernels.cpu import library

    if INTERPRETED:
        return False
    try:
        library.kernels()
    except OSError:
        return False
    return True


def _native() -> BackendInfo:
    from attnzoo.kernels.cpu import library

    if INTERPRETED:
        return BackendInfo(False, "TRITON_INTERPRET is set, and CPU tensors are the Triton interpreter's")
    try:
        found = library.description()
    except OSError as error:
        return BackendInfo(False, str(error))
    from attnzoo.ops import eager

    late = eager.missing()
    through = f", called through Python alone: {late}" if late else ""
    return BackendInfo(True, f"{found}{through}")


@functools.cache
def _triton() -> BackendInfo:
    if importlib.util.find_spec("triton") is None:
        return BackendInfo(False, "the package triton is not installed")
    if INTERPRETED:
        return BackendInfo(True, "interpreted on the CPU, because TRITON_INTERPRET is set")
    if not torch.cuda.is_available():
        return BackendInfo(False, "there is no CUDA device")
    name, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    if (major, minor) < OLDEST_CAPABILITY:
        return BackendInfo(
            False, f"{name} has compute capability {major}.{minor}, and 8.0 is the oldest that is served"
        )
    return BackendInfo(True, f"kernels for {name}")
