"""Detect that a tensor's memory is not used again, so that attention may write its result there.

For a large map, allocating new memory takes longer than computing the attention: the system provides it page by page.
Two cases are safe:

- The site's module has just returned the tensor, and there is no other reference to it: :func:`is_fresh`.
- A model calls its slot as ``x = self.se(x)``: the local variable holds the only reference, and the caller's next
  instruction overwrites it: :func:`is_last_use`.

References are counted to the Python object, the C++ tensor and its storage. The counts differ between versions of
Python and torch, so they are compared with those of a test tensor in the same situation, taken at import.
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
"""Numbers of references to the Python object, the C++ tensor and its storage; whether the storage is resizable."""


def is_fresh(tensor: Any) -> bool:
    """Tell whether the calling function holds the only reference to a tensor and to its memory.

    Args:
        tensor: An argument of the caller, passed directly from the call that returned it. Anything but a plain tensor
            that requires no gradient is not fresh.
    """
    return _is_plain(tensor) and _holders(sys.getrefcount(tensor), tensor) == _FRESH


def is_last_use(tensor: Any) -> bool:
    """Tell whether the ``forward(self, x, *_, **__)`` that calls this was called as ``x = module(x)``.

    Args:
        tensor: The argument ``x`` of that forward.
    """
    if not _is_plain(tensor) or _holders(sys.getrefcount(tensor), tensor) != _IN_ONE_VARIABLE:
        return False
    frame = sys._getframe(2)  # noqa: SLF001 - the module's caller; inspect.currentframe is slower
    while frame.f_code.co_name in MODULE_CALL_NAMES and frame.f_back is not None:
        frame = frame.f_back
    return _overwrites_its_argument(frame.f_code, frame.f_lasti)


def _is_plain(tensor: Any) -> bool:
    return type(tensor) is Tensor and not tensor.requires_grad and not torch.compiler.is_compiling()


def _holders(references: int, tensor: Tensor) -> Holders:
    storage = tensor.untyped_storage()
    return references, tensor_users(tensor), storage_users(storage), storage.resizable()


_read: dict[tuple[int, int], tuple[CodeType, bool]] = {}
"""Cached answers of ``_reads_and_overwrites`` by the code object's id and the instruction's offset. The code object is
kept alive so that its id stays unique; it is no key itself, because hashing it takes long."""


def _overwrites_its_argument(code: CodeType, at: int) -> bool:
    """Tell whether the call at offset ``at`` has one local variable as its argument and assigns the result to it."""
    known = _read.get((id(code), at))
    if known is None:
        known = _read[id(code), at] = code, _reads_and_overwrites(code, at)
    return known[1]


def _reads_and_overwrites(code: CodeType, at: int) -> bool:
    steps = [step for step in dis.get_instructions(code) if step.opname not in {"PRECALL", "CACHE", "NOP"}]
    index = next((index for index, step in enumerate(steps) if step.offset == at), None)
    if index is None or index == 0 or index + 1 == len(steps):
        return False
    argument, call, after = steps[index - 1 : index + 2]
    loads = argument.opname in {"LOAD_FAST", "LOAD_FAST_BORROW"}
    return (
        loads
        and (call.opname, call.argval, after.opname) == ("CALL", 1, "STORE_FAST")
        and argument.argval == after.argval
    )


class _Slot(nn.Module):
    """A slot that returns the reference counts of its argument."""

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
