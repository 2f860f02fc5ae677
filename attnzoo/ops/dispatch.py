"""Which implementation computes an operation: the one place where that is decided.

``torch`` is the traceable reference path, right everywhere. ``native`` are the C++ kernels for CPU tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from attnzoo import checks

NATIVE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
P = ParamSpec("P")
R = TypeVar("R")
_chosen: ContextVar[str] = ContextVar("attnzoo_backend", default="auto")


class BackendInfo(NamedTuple):
    """Whether a backend is there, and what it is or why it is missing."""

    available: bool
    detail: str


def backends() -> dict[str, BackendInfo]:
    """Return every backend by name, with the reason where one is missing."""
    return {"torch": BackendInfo(True, f"torch {torch.__version__}"), "native": _native()}


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Compute all operations inside the block by one backend.

    Args:
        name: ``"auto"``, the default, takes the fastest that can run; any other name raises where it cannot.

    Raises:
        RuntimeError: If the backend is not available.
        ValueError: If there is no backend of that name.
    """
    _check_name(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def takes_native(x: Tensor, requested: str | None, unfit: str | None = None) -> bool:
    """Tell whether the native kernels compute an operation on ``x``.

    Args:
        x: The tensor that decides.
        requested: The ``backend`` argument of the operation; None is the context's choice.
        unfit: Why no native kernel does what is asked, if none does.

    Raises:
        RuntimeError: If the native kernels were asked for but are not available, or do not work on ``x``.
        ValueError: If there is no backend of that name.
    """
    name = _chosen.get() if requested is None else requested
    if name == "auto":
        return unfit is None and _fits(x) and not _traced_or_transformed() and _native_is_built()
    if requested is not None:
        _check_name(name)
    if name == "torch":
        return False
    if unfit is not None:
        raise RuntimeError(f"backend 'native' cannot do this: {unfit}")
    if not _fits(x):
        raise RuntimeError(
            f"backend 'native' takes plain CPU tensors of {', '.join(map(str, NATIVE_DTYPES))}, "
            f"got {type(x).__name__} of {x.dtype} on {x.device}"
        )
    if _traced_or_transformed():
        raise RuntimeError(
            "backend 'native' works in no exported graph and under no torch.func, forward-mode AD or dispatch mode"
        )
    return True


def operator(name: str, implementation: Callable[P, R]) -> Callable[P, R]:
    """Return the operator ``attnzoo::name``, or what computes it on the CPU where nobody looks at operators.

    Compilers, counters and fake tensors must see the operator. In plain eager mode they are absent, and going through
    the dispatcher to Python would cost as much as a small map's whole layer.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():  # noqa: SLF001
        found: Callable[P, R] = getattr(torch.ops.attnzoo, name)
        return found
    return implementation


def transformed() -> bool:
    """Tell whether functorch (``vmap``, ``grad``, ``jvp``) or forward-mode AD is at work.

    Autograd functions drop their tangents or refuse, so everything then goes the reference path.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0  # noqa: SLF001


def _traced_or_transformed() -> bool:
    if torch.compiler.is_compiling():
        # torch 2.6 cannot tell export from compile: it then takes the path that is right in both
        return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()
    # torch.jit.trace, and dispatch modes (counters, fake tensors, selective checkpointing), which look at operators
    watched = torch._C._get_tracing_state() is not None or torch._C._len_torch_dispatch_stack() > 0  # noqa: SLF001
    return transformed() or watched


def _fits(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in NATIVE_DTYPES and type(x) in {Tensor, nn.Parameter}


def _check_name(name: str) -> None:
    known = backends()
    checks.one_of("backend", name, ("auto", *known))
    if name != "auto" and not known[name].available:
        raise RuntimeError(f"backend {name!r} is not available: {known[name].detail}")


def _native_is_built() -> bool:
    from attnzoo.kernels.cpu import library

    try:
        library.kernels()
    except OSError:
        return False
    return True


# what torch.compiler.assume_constant_result does, without its import of the compiler and of triton
_native_is_built._dynamo_marked_constant = True  # type: ignore[attr-defined] # noqa: SLF001


def _native() -> BackendInfo:
    from attnzoo.kernels.cpu import library

    try:
        found = library.kernels()
    except OSError as error:
        return BackendInfo(False, str(error))
    return BackendInfo(True, f"{found.isa} kernels in {library.PATH}")
