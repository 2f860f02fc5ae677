"""Read the tensors of a layer's modules in one call, and run a kernel that computes what the modules would.

A layer with such a kernel has a ``table``: the modules that it must consist of for the kernel to replace them, and the
tensors and numbers of each that the kernel needs. ``read`` checks the layer against the table at every call, so that
nothing is cached, and returns None if anything differs. Then the layer calls its modules.

``read`` runs in C++ (``read_modules.cpp``) where that was built: for one small image, checking a hundred tensors in
Python takes longer than the kernel saves. ``read_in_python`` returns the same.
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
"""A tuple for each module: its parent's row number, or -1; its name in the parent; the fields of ``Row``."""
Parts = tuple[tuple[nn.Module, Table], ...]
"""Modules, each with its table."""
Record = tuple[bytes, tuple[Tensor | None, ...]]
"""The packed fields and numbers that a kernel takes, and the tensors that own the memory; see ``read``."""

_DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.int64: 3}
_AXES = 4
_FIELD = struct.Struct("=13q")  # AttnzooField of field.h
_ABSENT = _FIELD.pack(0, -1, *[0] * 11)
_NATIVE = ("auto", "native")
_CHOICES = ((dispatch.chosen, _NATIVE),)
"""What attnzoo adds to ``torch_internals.SURROUNDINGS``: functions with the values that permit reading."""


class Row(NamedTuple):
    """What one module of a layer must be, and which of its values are read.

    Attributes:
        kinds: The allowed types; a subclass is not allowed. Empty for a layer that reads itself in its ``forward``: it
            is being called, so neither its type nor its hooks need a check.
        parameters: Names of the parameters to read; each may be None.
        buffers: Names of the buffers to read; each may be None.
        numbers: Names of the attributes to read; each must be an int, a float or a bool.
        required: Attribute names, each with the value that it must have.
    """

    kinds: tuple[type[nn.Module], ...] = ()
    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    required: Mapping[str, object] = MappingProxyType({})


def table(rows: Mapping[str, Row]) -> Table:
    """Return the table for rows by the modules' dotted names; the layer itself, ``""``, comes first.

    Raises:
        ValueError: If a module comes before its parent.
    """
    indices: dict[str, int] = {}
    packed: list[tuple[Any, ...]] = []
    for index, (name, row) in enumerate(rows.items()):
        parent, _, child = name.rpartition(".")
        if (index == 0) != (name == "") or (name and parent not in indices):
            raise ValueError(f"rows must name a module after the one that holds it, got {', '.join(map(repr, rows))}")
        packed.append((indices[parent] if name else -1, child, *row[:-1], tuple(row.required.items())))
        indices[name] = index
    return tuple(packed)


@functools.cache
def left_out(*kinds: type[nn.Module]) -> Table:
    """Return the table of a module of one of these types whose call the kernel replaces without reading its values."""
    return table({"": Row(kinds)})


class Contents(NamedTuple):
    """The values of some modules: the tensors row by row, parameters before buffers, and the numbers row by row."""

    tensors: list[Tensor | None]
    numbers: list[float]


def contents(parts: Parts) -> Contents | str:
    """Return the values of modules, on any device and of any dtype, or why a module does not fit its table."""
    values = Contents([], [])
    for module, rows in parts:
        dictionaries: list[dict[str, Any]] = []
        for parent, name, kinds, parameters, buffers, numbers, required in rows:
            each = module if parent < 0 else dictionaries[parent]["_modules"].get(name)
            reason = _why_unusual(each, kinds, required)
            if reason is not None:
                return reason
            attributes = each.__dict__
            dictionaries.append(attributes)
            try:
                values.tensors.extend([attributes["_parameters"][name] for name in parameters])
                values.tensors.extend([attributes["_buffers"][name] for name in buffers])
                read = [attributes[name] for name in numbers]
            except KeyError as error:  # parametrised or pruned parameters
                return f"{type(each).__name__} holds no {error} of its own"
            if not all([isinstance(number, int | float) for number in read]):  # noqa: C419 - the faster form
                return f"{', '.join(numbers)} of {type(each).__name__} must be numbers, got {read}"
            values.numbers.extend(map(float, read))
    return values


def _why_unusual(
    module: nn.Module | None, kinds: tuple[type[nn.Module], ...], required: tuple[tuple[str, object], ...]
) -> str | None:
    """Return why a module does not fit a row with these ``kinds`` and ``required`` attributes, or None."""
    if kinds and type(module) not in kinds:
        return f"{type(module).__name__} stands where the kernel knows {' or '.join(kind.__name__ for kind in kinds)}"
    reason = eligibility.why_called(module) if kinds and module is not None else None
    if reason is not None:
        return reason
    for name, value in required:
        actual = getattr(module, name, None)
        if actual != value:
            return f"{name} of {type(module).__name__} is {actual!r}, and the kernel knows {value!r} only"
    return None


def read_in_python(parts: Parts, tensors: tuple[Tensor | None, ...]) -> Record | None:
    """Return the same as ``read``, without C++."""
    if not eligibility.plain_eager() or torch_internals.has_global_module_hook() or dispatch.chosen() not in _NATIVE:
        return None
    values = contents(parts)
    if isinstance(values, str):
        return None
    all_tensors = (*tensors, *values.tensors)
    fields = [_field(tensor) for tensor in all_tensors]
    packed = [field for field in fields if field is not None]
    if len(packed) < len(fields):
        return None
    return b"".join(packed) + struct.pack(f"={len(values.numbers)}d", *values.numbers), all_tensors


def why_not_read(parts: Parts, tensors: tuple[Tensor | None, ...]) -> str:
    """Return a sentence that says why ``read`` returns None."""
    if dispatch.chosen() not in _NATIVE:
        return f"{dispatch.chosen()} was asked for"
    reason = eligibility.why_surroundings_forbid()
    values = contents(parts) if reason is None else reason
    if isinstance(values, str):
        return values
    present = [tensor for tensor in (*tensors, *values.tensors) if tensor is not None]
    unfit = next((tensor for tensor in present if _field(tensor) is None), None)
    if unfit is None:
        return "the reader of modules was not built for this torch"
    return (
        "native kernels take plain dense CPU tensors of torch.float32, torch.bfloat16, torch.float16, got "
        f"{type(unfit).__name__} of {unfit.dtype} on {unfit.device}"
    )


def _field(tensor: Tensor | None) -> bytes | None:
    """Return the packed ``AttnzooField`` of a tensor or of None; None if it is no plain dense CPU tensor."""
    if tensor is None:
        return _ABSENT
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None or not eligibility.plain(tensor) or not tensor.is_cpu or tensor.dim() > _AXES:
        return None
    count, pointer = tensor.numel(), tensor.data_ptr()
    if count and not pointer:  # freed, or never allocated
        return None
    requires_grad = torch.is_grad_enabled() and tensor.requires_grad
    rest = (0,) * (_AXES - tensor.dim())
    axes = (*tensor.shape, *rest, *tensor.stride(), *rest)
    return _FIELD.pack(pointer, dtype, tensor.dim(), count, requires_grad, *axes)


def _built() -> ModuleType | None:
    """Return the reader in C++, set up with the functions of torch that it calls; None if it is not available."""
    try:
        reader = importlib.import_module("attnzoo.ops.read_modules")
    except ImportError:
        return None
    exchange = torch_internals.dlpack_exchange()
    if exchange is None:
        return None
    reader.prepare(
        exchange,
        (Tensor, nn.Parameter),
        (Tensor.is_neg, torch.is_grad_enabled, torch.empty_like, torch.get_num_threads),
        ((*torch_internals.SURROUNDINGS, *_CHOICES), torch_internals.GLOBAL_HOOKS),
        (torch_internals.INSTANCE_HOOKS, torch_internals.INSTANCE_METHODS),
    )
    return reader


_reader = _built()


def read(parts: Parts, tensors: tuple[Tensor | None, ...]) -> Record | None:
    """Return the values of some tensors and modules as kernels take them, or None if a kernel may not read them.

    Args:
        parts: Modules, each with its table.
        tensors: Further tensors for the kernel, which come first in the record.

    Returns:
        The record, and all tensors in its order, which the caller must keep alive while a kernel reads the record. The
        record holds one ``AttnzooField`` (field.h) for each tensor: first ``tensors``, then those of the tables row by
        row, parameters before buffers; then a double for each number. ``requires_grad`` is 0 while gradients are off.

        None if a module does not fit its table (another type, another attribute, hooks of any kind, a method replaced
        on this instance); if a tensor is no plain dense CPU tensor (a subclass, sparse, quantised, with the negative
        bit, more than four axes, neither float32, bfloat16, float16 nor int64); if a global module hook, a transform, a
        tracer or a dispatch mode is active, or ``backend("torch")`` was chosen.
    """
    record: Record | None = read_in_python(parts, tensors) if _reader is None else _reader.read(parts, tensors)
    return record


def call(
    kernel: int, options: bytes, parts: Parts, tensors: tuple[Tensor, *tuple[Tensor | None, ...]], in_place: bool
) -> Tensor | Record | None:
    """Read tensors and modules as ``read`` does, and run a kernel on the record unless a tensor requires a gradient.

    Args:
        kernel: Address of an ``AttnzooKernel`` (field.h). It is given the record, no memory for a state, and an output
            of the first tensor's shape and dtype.
        options: The kernel's options, packed.
        parts: Modules, each with its table.
        tensors: Further tensors for the kernel, which come first in the record; at least one.
        in_place: Whether the kernel writes its output into the first tensor.

    Returns:
        The kernel's output. If a tensor requires a gradient, or the reader was not built in C++, the record: then no
        kernel was run. None where ``read`` returns None, or where the kernel cannot take these tensors.

    Raises:
        RuntimeError: If the kernel failed, for instance for lack of memory: its output may be partly written.
    """
    if _reader is None:
        return read_in_python(parts, tensors)
    result: Tensor | Record | None = _reader.call(kernel, options, parts, tensors, in_place)
    return result


def may_replace_calls(*modules: nn.Module) -> bool:
    """Tell whether these modules have no hooks and no replaced methods, so that their calls may be replaced.

    It is a faster ``eligibility.why_called``, which it calls where the reader was not built in C++; only the latter
    checks the parameters and buffers too.
    """
    if _reader is None:
        return eligibility.why_called(*modules) is None
    allowed: bool = _reader.nobody_waits(*modules)
    return allowed
