"""Whether nobody will see a tensor's memory again, so that the attention may write its result there.

New memory for a large map is taken from the system, page by page, which takes longer than to attend to the map. Two
cases can be shown to be safe:

- The module whose output is attended to has just made it, and nothing else refers to it: :func:`is_fresh`.
- A model calls its slot as ``x = self.se(x)``: the variable is the only thing that refers to the tensor, and the
  caller's very next instruction overwrites it: :func:`is_last_use`.

Who refers to a tensor is counted: the Python object, the tensor behind it, and its memory. Numbers differ between
versions of Python and torch, so that they are compared with those of a tensor that was made for the purpose.
"""

from __future__ import annotations

import dis
import sys
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo.ops.torch_internals import MODULE_CALL_NAMES, storage_users, tensor_users

Holders = tuple[int, int, int, bool]
"""How many hold the Python object, the tensor behind it and its memory, and whether torch allocated that."""


def is_fresh(tensor: Any) -> bool:
    """Tell whether the function that calls this holds the only reference to a tensor and to its memory.

    Args:
        tensor: What the caller was given as an argument, straight from the call that returned it. Anything but a plain
            tensor without a gradient is not fresh.
    """
    return _is_plain(tensor) and _holders(sys.getrefcount(tensor), tensor) == _FRESH


def is_last_use(tensor: Any) -> bool:
    """Tell whether the ``forward(self, x, *_, **__)`` that calls this was called as ``x = module(x)``, see above.

    Args:
        tensor: Its argument.
    """
    if not _is_plain(tensor) or _holders(sys.getrefcount(tensor), tensor) != _IN_ONE_VARIABLE:
        return False
    frame = sys._getframe(2)  # noqa: SLF001 - who has called the module; inspect.currentframe is the same, slower
    while frame.f_code.co_name in MODULE_CALL_NAMES and frame.f_back is not None:
        frame = frame.f_back
    return _overwrites_its_argument(frame.f_code, frame.f_lasti)


def _is_plain(tensor: Any) -> bool:
    return type(tensor) is Tensor and not tensor.requires_grad and not torch.compiler.is_compiling()


def _holders(references: int, tensor: Tensor) -> Holders:
    storage = tensor.untyped_storage()
    return references, tensor_users(tensor), storage_users(storage), storage.resizable()


_read: dict[tuple[int, int], tuple[CodeType, bool]] = {}
"""What was read off a function and a place in it. The key is where the code lies, and the code is kept so that it stays
there: its own hash would go through all of it at every call."""


def _overwrites_its_argument(code: CodeType, at: int) -> bool:
    """Tell whether the call at this place of a function has one local variable as argument and assigns to it."""
    known = _read.get((id(code), at))
    if known is None:
        known = _read[id(code), at] = code, _reads_and_overwrites(code, at)
    return known[1]


def _reads_and_overwrites(code: CodeType, at: int) -> bool:
    steps = [step for step in dis.get_instructions(code) if step.opname not in {"PRECALL", "CACHE", "NOP"}]
    place = next((place for place, step in enumerate(steps) if step.offset == at), None)
    if place is None or place == 0 or place + 1 == len(steps):
        return False
    argument, call, after = steps[place - 1 : place + 2]
    loads = argument.opname in {"LOAD_FAST", "LOAD_FAST_BORROW"}
    return (
        loads
        and (call.opname, call.argval, after.opname) == ("CALL", 1, "STORE_FAST")
        and argument.argval == after.argval
    )


class _Slot(nn.Module):
    """Called as a slot is, it returns how many refer to its argument."""

    def forward(self, x: Any, *_: Any, **__: Any) -> Holders:
        return _as_is_last_use(x)


def _as_is_last_use(tensor: Tensor) -> Holders:
    return _holders(sys.getrefcount(tensor), tensor)


def _as_attend(tensor: Tensor) -> Holders:
    return _as_is_last_use(tensor)


def _in_one_variable() -> Holders:
    slot: Any = _Slot()
    x: Any = torch.empty(1, device="cpu")
    x = slot(x)  # as a model would call it
    holders: Holders = x
    return holders


_FRESH = _as_attend(torch.empty(1, device="cpu"))
_IN_ONE_VARIABLE = _in_one_variable()
