"""The backends: which are available, which one the user has chosen, and the modules that launch their kernels.

``torch`` is the reference path in plain torch operations: it runs on every device and can be traced and exported.
``native`` are the C++ kernels for CPU tensors, ``triton`` the Triton kernels for CUDA tensors. Both kernel families
have launch functions of the same names and arguments: see ``launcher``. Which backend computes an operation is decided
in :mod:`attnzoo.ops.eligibility`.
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
"""The backends that consist of kernels."""
OLDEST_CAPABILITY = (8, 0)
"""The lowest CUDA compute capability for which the Triton kernels are tested."""
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "on", "yes", "y"}
"""Whether Triton interprets its kernels on CPU tensors, as the tests of the kernels do."""
P = ParamSpec("P")
R = TypeVar("R")


class _Chosen(threading.local):
    """The name that ``backend`` chose, for each thread.

    It is no context variable, because torch.compile reads those only since torch 2.14.
    """

    name = "auto"


_chosen = _Chosen()


class BackendInfo(NamedTuple):
    """Whether a backend is available; ``detail`` describes it or says why it is not."""

    available: bool
    detail: str


def backends() -> dict[str, BackendInfo]:
    """Return every backend by name; the detail of an unavailable one says why it is unavailable."""
    return {"torch": BackendInfo(True, f"torch {torch.__version__}"), "native": _native(), "triton": _triton()}


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Compute all operations inside the ``with`` block by one backend, in this thread.

    Args:
        name: ``"auto"``, the default, takes the fastest backend that can run. With any other name, an operation that
            this backend cannot compute raises.

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
    """Return the name that the innermost ``backend`` block of this thread was given, or "auto" outside of one."""
    return _chosen.name


def device_type(family: str) -> str:
    """Return the device type whose tensors a family's kernels take: ``"cpu"`` or ``"cuda"``."""
    return "cpu" if family == "native" or INTERPRETED else "cuda"


def launcher(x: Tensor, on_cpu: str = "launch") -> ModuleType:
    """Return the module that launches the kernels for the device of ``x``.

    Both families' launch functions have the same names and arguments, so that an operator needs one implementation for
    all devices.

    Args:
        x: Any tensor of the operation.
        on_cpu: The module in ``attnzoo.kernels.cpu`` to return for a CPU tensor.
    """
    if x.device.type == device_type("triton"):
        from attnzoo.kernels.triton import launch as on_cuda

        return on_cuda
    return importlib.import_module(f"attnzoo.kernels.cpu.{on_cpu}")


def operator(name: str, implementation: Callable[P, R]) -> Callable[P, R]:
    """Return the torch operator ``attnzoo::name``, or in plain eager mode the function that implements it.

    Compilers, FLOP counters and fake tensors must see the operator. Without them it is bypassed: the way through
    torch's dispatcher to Python takes as long as a whole layer on a small map.
    """
    if torch.compiler.is_compiling() or torch_internals.has_dispatch_mode():
        registered: Callable[P, R] = getattr(torch.ops.attnzoo, name)
        return registered
    return implementation


def why_unavailable(family: str) -> str | None:
    """Return why the kernels cannot be called on this machine, or None if they can."""
    if is_available(family):
        return None
    return "it is not available, as attnzoo.ops.backends() says"


@torch_internals.constant_when_compiled
def check_name(name: str) -> None:
    """Raise if no backend has this name, or if that backend is not available.

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
    """Tell whether the kernels of this family can run; cheaper than ``backends``, as every operation calls it."""
    if family == "native":
        return native_is_built()
    return _triton().available


@functools.cache
def native_is_built() -> bool:
    """Tell whether the native kernels were built and may take CPU tensors; the answer is cached."""
    return _native().available


def _native() -> BackendInfo:
    from attnzoo.kernels.cpu import library

    if INTERPRETED:
        return BackendInfo(False, "TRITON_INTERPRET is set, and CPU tensors are the Triton interpreter's")
    try:
        description = library.description()
    except OSError as error:
        return BackendInfo(False, str(error))
    return BackendInfo(True, description)


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
