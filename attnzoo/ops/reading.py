"""Reading all tensors that some modules hold, in one call, and calling a kernel that does the modules' work.

A layer that has such a kernel keeps a ``table`` beside it: which modules it must consist of for the kernel to take
their place, and which of their tensors and numbers the kernel needs. ``read`` goes through the table at every call, so
nothing can go stale, and returns None wherever anything is unusual. Then the modules are called.

``read`` is C++ where that could be built (``read_modules.cpp``): for one small image Python would take longer to look
at a hundred tensors than a kernel saves. ``read_in_python`` returns the same.
"""

from __future__ import annotations

import functools
import importlib
import struct
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attnzoo.ops import dispatch, eligibility, torch_internals

Table = tuple[tuple[Any, ...], ...]
"""What ``table`` makes: a plain tuple for each module, with the place of its parent and its name there in front."""
Parts = tuple[tuple[nn.Module, Table], ...]
"""Modules, each with the table that says what it must be."""
Record = tuple[bytes, tuple[Tensor | None, ...]]
"""What ``read`` returns."""

_DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.int64: 3}
_AXES = 4
_FIELD = struct.Struct("=13q")  # AttnzooField of field.h
_ABSENT = _FIELD.pack(0, -1, *[0] * 11)
_NATIVE = ("auto", "native")
_CHOICES = ((dispatch.chosen, _NATIVE),)
"""Of the surroundings what is attnzoo's, as in ``torch_internals.SURROUNDINGS``."""


class Row(NamedTuple):
    """What one module of a layer must be, and what is read of it.

    Attributes:
        kinds: Its type must be one of these, and no subclass. Empty for a layer that reads itself in its ``forward``:
            it has been called, so that nobody waits for that any more.
        parameters: Parameters that are read; each may be None.
        buffers: Buffers that are read; each may be None.
        numbers: Attributes that are read; each must be an int, a float or a bool.
        required: Attributes that must have the given value.
    """

    kinds: tuple[type[nn.Module], ...] = ()
    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    required: Mapping[str, object] = MappingProxyType({})


def table(rows: Mapping[str, Row]) -> Table:
    """Return a table of a layer's modules by their names inside the layer, which itself is ``""`` and comes first.

    Raises:
        ValueError: If a module comes before the one that holds it.
    """
    places: dict[str, int] = {}
    made: list[tuple[Any, ...]] = []
    for place, (name, row) in enumerate(rows.items()):
        parent, _, own = name.rpartition(".")
        if (place == 0) != (name == "") or (name and parent not in places):
            raise ValueError(f"rows must name a module after the one that holds it, got {', '.join(map(repr, rows))}")
        made.append((places[parent] if name else -1, own, *row[:-1], tuple(row.required.items())))
        places[name] = place
    return tuple(made)


@functools.cache
def left_out(*kinds: type[nn.Module]) -> Table:
    """Return the table of a module of one of these types that need not be called, and of which nothing is read."""
    return table({"": Row(kinds)})


class Contents(NamedTuple):
    """What modules hold, row by row of their tables: parameters, then buffers; and the numbers."""

    tensors: list[Tensor | None]
    numbers: list[float]


def contents(parts: Parts) -> Contents | str:
    """Return what modules hold, on any device and of any dtype, or what about them is not as their tables say."""
    found = Contents([], [])
    for module, rows in parts:
        owns: list[dict[str, Any]] = []
        for parent, name, kinds, parameters, buffers, numbers, required in rows:
            each = module if parent < 0 else owns[parent]["_modules"].get(name)
            reason = _why_unusual(each, kinds, required)
            if reason is not None:
                return reason
            own = each.__dict__
            owns.append(own)
            try:
                found.tensors.extend([own["_parameters"][name] for name in parameters])
                found.tensors.extend([own["_buffers"][name] for name in buffers])
                read = [own[name] for name in numbers]
            except KeyError as error:  # parametrised, pruned
                return f"{type(each).__name__} holds no {error} of its own"
            if not all([isinstance(number, int | float) for number in read]):  # noqa: C419 - the faster form
                return f"{', '.join(numbers)} of {type(each).__name__} must be numbers, got {read}"
            found.numbers.extend(map(float, read))
    return found


def _why_unusual(
    module: nn.Module | None, kinds: tuple[type[nn.Module], ...], required: tuple[tuple[str, object], ...]
) -> str | None:
    if kinds and type(module) not in kinds:
        return f"{type(module).__name__} stands where the kernel knows {' or '.join(kind.__name__ for kind in kinds)}"
    reason = eligibility.why_called(module) if kinds and module is not None else None
    if reason is not None:
        return reason
    for name, value in required:
        found = getattr(module, name, None)
        if found != value:
            return f"{name} of {type(module).__name__} is {found!r}, and the kernel knows {value!r} only"
    return None


def read_in_python(parts: Parts, tensors: tuple[Tensor | None, ...]) -> Record | None:
    """Return what ``read`` returns."""
    if not eligibility.plain_eager() or torch_internals.has_global_module_hook() or dispatch.chosen() not in _NATIVE:
        return None
    found = contents(parts)
    if isinstance(found, str):
        return None
    held = (*tensors, *found.tensors)
    fields = [_field(tensor) for tensor in held]
    known = [field for field in fields if field is not None]
    if len(known) < len(fields):
        return None
    return b"".join(known) + struct.pack(f"={len(found.numbers)}d", *found.numbers), held


def why_not_read(parts: Parts, tensors: tuple[Tensor | None, ...]) -> str:
    """Return why ``read`` returns None, for a person."""
    if dispatch.chosen() not in _NATIVE:
        return f"{dispatch.chosen()} was asked for"
    reason = eligibility.why_surroundings_forbid()
    found = contents(parts) if reason is None else reason
    if isinstance(found, str):
        return found
    held = [tensor for tensor in (*tensors, *found.tensors) if tensor is not None]
    unlike = next((tensor for tensor in held if _field(tensor) is None), None)
    if unlike is None:
        return "the reader of modules was not built for this torch"
    return (
        "native kernels take plain dense CPU tensors of torch.float32, torch.bfloat16, torch.float16, got "
        f"{type(unlike).__name__} of {unlike.dtype} on {unlike.device}"
    )


def _field(tensor: Tensor | None) -> bytes | None:
    """Return the AttnzooField of a plain dense CPU tensor, or None if it is another one."""
    if tensor is None:
        return _ABSENT
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None or not eligibility.plain(tensor) or not tensor.is_cpu or tensor.dim() > _AXES:
        return None
    count, pointer = tensor.numel(), tensor.data_ptr()
    if count and not pointer:  # memory that is not there now, or never
        return None
    learns = torch.is_grad_enabled() and tensor.requires_grad
    rest = (0,) * (_AXES - tensor.dim())
    axes = (*tensor.shape, *rest, *tensor.stride(), *rest)
    return _FIELD.pack(pointer, dtype, tensor.dim(), count, learns, *axes)


def _built() -> ModuleType | None:
    """Return the reader in C++ with all that it asks of torch, or None where it cannot be."""
    try:
        made = importlib.import_module("attnzoo.ops.read_modules")
    except ImportError:
        return None
    exchange = torch_internals.dlpack_exchange()
    if exchange is None:
        return None
    made.prepare(
        exchange,
        (Tensor, nn.Parameter),
        (Tensor.is_neg, torch.is_grad_enabled, torch.empty_like, torch.get_num_threads),
        ((*torch_internals.SURROUNDINGS, *_CHOICES), torch_internals.GLOBAL_HOOKS),
        (torch_internals.INSTANCE_HOOKS, torch_internals.INSTANCE_METHODS),
    )
    return made


_reader = _built()


def read(parts: Parts, tensors: tuple[Tensor | None, ...]) -> Record | None:
    """Return what some tensors and modules hold, or None if anything about them, or around them, is unusual.

    Args:
        parts: Modules, each with its table.
        tensors: Further tensors for the kernel, which come first in the record.

    Returns:
        The record and its tensors, which must be held while a kernel works on the record. In the record there is an
        ``AttnzooField`` (field.h) for every tensor: those given, then those of the tables row by row, parameters before
        buffers; behind them a double for every number. ``requires_grad`` is set where gradients are on.

        None where a module is not what its table says (of another type, with other attributes, with hooks of any kind,
        with a method that was replaced on this instance); where a tensor is no plain dense one on the CPU (a subclass,
        sparse, quantised, with the negative bit, of more than four axes, neither float32, bfloat16, float16 nor int64);
        where a hook waits for all modules, a transform, tracer or dispatch mode is at work, or
        ``backend("torch")`` was chosen.
    """
    made: Record | None = read_in_python(parts, tensors) if _reader is None else _reader.read(parts, tensors)
    return made


def call(
    kernel: int, options: bytes, parts: Parts, tensors: tuple[Tensor, *tuple[Tensor | None, ...]], in_place: bool
) -> Tensor | Record | None:
    """Return what a kernel makes of what ``read`` finds; where a gradient is wanted, what ``read`` returns.

    Args:
        kernel: Address of an ``AttnzooKernel`` (field.h), which is given the record, no memory for a state, and memory
            like the first tensor's to fill.
        options: What else it is told.
        parts: Modules, each with its table.
        tensors: Further tensors for the kernel, which come first in the record; there must be one.
        in_place: Whether the first tensor's own memory is filled.

    Returns:
        The tensor that was filled. The record where a gradient is wanted, or the reader was not built in C++: then
        nothing was computed. None where ``read`` returns None, or the kernel does not take what was read.

    Raises:
        RuntimeError: If the kernel failed, as where memory is full: the tensor that is filled may be half written.
    """
    if _reader is None:
        return read_in_python(parts, tensors)
    made: Tensor | Record | None = _reader.call(kernel, options, parts, tensors, in_place)
    return made


def nobody_waits(*modules: nn.Module) -> bool:
    """Tell whether no hook waits for these modules to be called, and nobody has replaced what they do.

    It is what ``eligibility.why_called`` says, which also looks at the weights where this was not built in C++.
    """
    if _reader is None:
        return eligibility.why_called(*modules) is None
    made: bool = _reader.nobody_waits(*modules)
    return made
