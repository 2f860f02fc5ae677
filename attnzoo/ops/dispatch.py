"""The backends: which there are, which one is asked for, and where their kernels are launched.

``torch`` is the traceable reference path, right everywhere. ``native`` are the C++ kernels for CPU tensors, ``triton``
the Triton kernels for CUDA tensors. Both families are launched by functions of the same names and arguments: see
``launcher``. Which backend computes an operation is decided in :mod:`attnzoo.ops.eligibility`.
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
from torch import Tensor

from attnzoo import checks
from attnzoo.ops import torch_internals

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
    check_name(name)
    before, _chosen.name = _chosen.name, name
    try:
        yield
    finally:
        _chosen.name = before


def chosen() -> str:
    """Return the name that the innermost ``backend`` block of this thread gave, or "auto"."""
    return _chosen.name


def home(family: str) -> str:
    """Return the type of the devices whose tensors the kernels take."""
    return "cpu" if family == "native" or INTERPRETED else "cuda"


def launcher(x: Tensor, on_cpu: str = "launch") -> ModuleType:
    """Return the module that launches the kernels for the device of ``x``.

    The families' functions have the same names and arguments, so that an operator has one implementation for all
    devices. Those for the CPU are in several modules, of which ``on_cpu`` names one.
    """
    if x.device.type == home("triton"):
        from attnzoo.kernels.triton import launch as on_cuda

        return on_cuda
    return importlib.import_module(f"attnzoo.kernels.cpu.{on_cpu}")


def operator(name: str, implementation: Callable[P, R]) -> Callable[P, R]:
    """Return the operator ``attnzoo::name``, or what computes it where nobody looks at operators.

    Compilers, counters and fake tensors must see the operator. In plain eager mode they are absent, and going through
    the dispatcher to Python would cost as much as a small map's whole layer.
    """
    if torch.compiler.is_compiling() or torch_internals.has_dispatch_mode():
        found: Callable[P, R] = getattr(torch.ops.attnzoo, name)
        return found
    return implementation


def why_unavailable(family: str) -> str | None:
    """Return why the kernels cannot be called on this machine, or None if they can."""
    if is_available(family):
        return None
    return "it is not available, as attnzoo.ops.backends() says"


@torch_internals.constant_when_compiled
def check_name(name: str) -> None:
    """Refuse a name that is no backend's, or that of one which is not available.

    Raises:
        RuntimeError: If the backend is not available.
        ValueError: If there is no backend of that name.
    """
    if name in ("auto", "torch") or (name in FAMILIES and is_available(name)):
        return
    known = backends()
    checks.one_of("backend", name, ("auto", *known))
    if name != "auto" and not known[name].available:
        raise RuntimeError(f"backend {name!r} is not available: {known[name].detail}")


@torch_internals.constant_when_compiled
def is_available(family: str) -> bool:
    """Tell what ``backends`` tells of the kernels, without its words: every operation asks this."""
    if family == "native":
        return native_is_built()
    return _triton().available


@functools.cache
def native_is_built() -> bool:
    """Tell whether there are native kernels, and CPU tensors are theirs."""
    return _native().available


def _native() -> BackendInfo:
    from attnzoo.kernels.cpu import library

    if INTERPRETED:
        return BackendInfo(False, "TRITON_INTERPRET is set, and CPU tensors are the Triton interpreter's")
    try:
        found = library.description()
    except OSError as error:
        return BackendInfo(False, str(error))
    return BackendInfo(True, found)


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
