"""Load the shared library of the CPU kernels and choose the instruction set, once per process."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from ctypes import c_float, c_int, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

# torch must be imported first: it loads the OpenMP runtime, so that the kernels use the same pool of threads.
import torch  # noqa: F401

PATH = Path(__file__).with_name("libattnzoo.so")
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")
_ANEW = "build it again, by python setup.py build_ext --inplace in a checkout, else by installing attnzoo anew"


class Map(ctypes.Structure):
    """``AttnzooMap`` of kernel.h."""

    _fields_ = (
        ("batch", c_int64),
        ("channels", c_int64),
        ("pixels", c_int64),
        ("channels_last", c_int32),
        ("dtype", c_int32),
        ("threads", c_int32),
    )


_MAP = ctypes.POINTER(Map)
_STEPS = [f"igc_step_{name}{way}" for way in ("", "_backward") for name in ("first", "second", "third", "last")]
_OF_FIELDS = (c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_int64)
"""The argument types of an ``AttnzooKernel`` of field.h."""
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "global_pool": (_MAP, *[c_void_p] * 4),
    "global_pool_backward": (_MAP, *[c_void_p] * 7),
    "squeeze_channels": (_MAP, *[c_void_p] * 4),
    "squeeze_channels_backward": (_MAP, *[c_void_p] * 8),
    "apply_gates": (_MAP, *[c_void_p] * 3, c_float, c_float, c_void_p, c_int, c_void_p),
    "apply_gates_backward": (_MAP, *[c_void_p] * 4, c_float, c_float, c_void_p, c_int, *[c_void_p] * 4),
    **dict.fromkeys(("gate_images", "gate_images_backward"), _OF_FIELDS),
    "llam_gate": (_MAP, *[c_void_p] * 4, c_float, c_int, *[c_void_p] * 2),
    "llam_gate_backward": (_MAP, *[c_void_p] * 4, c_float, *[c_void_p] * 4),
    "igc_block": (c_int, *[c_void_p] * 3),
    "igc_chain": (*[c_int64] * 2, *[c_void_p] * 2, c_int64),
    **dict.fromkeys(_STEPS, (c_void_p,)),
    "split_rows": (c_void_p,),
    "split_rows_backward": (c_void_p,),
    "halve": (c_void_p,),
    "linears": (c_int64, c_int, c_void_p),
    "winograd": (c_void_p,),
    "spatial_conv": (*[c_int64] * 4, c_int, *[c_void_p] * 2, c_float, c_void_p),
    "spatial_conv_backward": (*[c_int64] * 4, c_int, *[c_void_p] * 5),
}


class Kernels:
    """The kernels of one instruction set, as attributes. Each returns a status, 0 for success."""

    def __init__(self, isa: str) -> None:
        library = _open()
        self.isa = isa
        _require(library, *(f"attnzoo_{name}_{isa}" for name in _SIGNATURES))
        for name, argtypes in _SIGNATURES.items():
            function = library[f"attnzoo_{name}_{isa}"]
            function.argtypes = argtypes
            function.restype = c_int
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Callable[..., int]:
        """Tell type checkers that all other attributes are kernels; at run time, raise for names that are not."""
        raise AttributeError(f"there is no kernel {name!r}")


def instruction_sets() -> list[str]:
    """Return the instruction sets that this machine can run and whose kernels were built, the widest first.

    Raises:
        OSError: If the library was not built, cannot be loaded, is older than the package, or has no
            kernels for this machine.
    """
    library = _open()
    usable = [isa for isa in _of_this_machine(library) if _is_built(library, isa)]
    if not usable:
        raise OSError(f"{PATH.name} has no kernels for this machine: {_ANEW}")
    return usable


@functools.cache
def kernels() -> Kernels:
    """Return the kernels for this machine: the widest instruction set, or the one that ``ATTNZOO_ISA`` names.

    Raises:
        OSError: If the library was not built, cannot be loaded, or is older than the package.
        ValueError: If ``ATTNZOO_ISA`` names a set that this machine lacks.
    """
    available = instruction_sets()
    wanted = os.environ.get("ATTNZOO_ISA", available[0])
    if wanted not in available:
        raise ValueError(f"ATTNZOO_ISA must be one of {', '.join(available)} on this machine, got {wanted!r}")
    return Kernels(wanted)


def address(kernel: str) -> int:
    """Return the address of a kernel for this machine, for C++ code that calls it.

    Raises:
        OSError: As ``kernels``.
    """
    return ctypes.cast(getattr(kernels(), kernel), c_void_p).value or 0


def description() -> str:
    """Return a sentence that names the instruction set, the library, and any wider set whose kernels did not compile.

    Raises:
        OSError: As ``kernels``.
    """
    lost = ", ".join(isa for isa in _of_this_machine(_open()) if not _is_built(_open(), isa))
    slower = f"; slower than need be: those for {lost}, which this machine has, did not compile" if lost else ""
    return f"{kernels().isa} kernels in {PATH}{slower}"


@functools.cache
def _open() -> ctypes.CDLL:
    if not PATH.exists():
        raise OSError(f"{PATH.name} was not built: install attnzoo where there is a C++17 compiler with OpenMP")
    return ctypes.CDLL(str(PATH))


def _of_this_machine(library: ctypes.CDLL) -> list[str]:
    _require(library, "attnzoo_has_baseline")
    return [
        isa for isa in INSTRUCTION_SETS if hasattr(library, f"attnzoo_has_{isa}") and library[f"attnzoo_has_{isa}"]()
    ]


def _is_built(library: ctypes.CDLL, isa: str) -> bool:
    """Tell whether the library has kernels of an instruction set; the build leaves out all if one does not compile."""
    return any(hasattr(library, f"attnzoo_{name}_{isa}") for name in _SIGNATURES)


def _require(library: ctypes.CDLL, *functions: str) -> None:
    for name in functions:
        if not hasattr(library, name):
            raise OSError(f"{PATH.name} is older than the package, it lacks {name}: {_ANEW}")
