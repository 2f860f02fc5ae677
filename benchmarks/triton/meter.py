"""Watches Triton's interpreter: every byte that a kernel reads and writes, out of bounds, and races between programs.

For processes that start with ``TRITON_INTERPRET=1``. Kernels are interpreted one program after the other; what would go
wrong if they ran at once is found by keeping, for every element, the program that wrote it and the one that read it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

NOBODY, MANY = -1, -2


@dataclass
class Argument:
    """A tensor that a kernel was given, and what became of its elements."""

    name: str
    first: int
    end: int
    size: int
    writer: np.ndarray
    reader: np.ndarray

    def distinct(self) -> int:
        """Return the bytes that were read and those that were written, each once."""
        return int((self.reader != NOBODY).sum() + (self.writer != NOBODY).sum()) * self.size


@dataclass
class Launch:
    """What one launch did: bytes by argument, as often as they are asked for."""

    name: str
    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    races: list[str] = field(default_factory=list)
    arguments: list[Argument] = field(default_factory=list)

    def find(self, pointers: np.ndarray, what: str) -> tuple[Argument, np.ndarray]:
        """Return the argument that all pointers point into, and the elements."""
        low, high = int(pointers.min()), int(pointers.max())
        for argument in self.arguments:
            if argument.first <= low and high + argument.size <= argument.end:
                return argument, (pointers - argument.first) // argument.size
        raise IndexError(f"{self.name}: {what} of [{low:#x}, {high:#x}] is out of every argument's bounds")

    def load(self, pointers: np.ndarray, program: int) -> None:
        """Take in a load; what one load reads more than once counts once."""
        argument, at = self.find(pointers, "load")
        at = np.unique(at)
        self.read[argument.name] = self.read.get(argument.name, 0) + at.size * argument.size
        writers = argument.writer[at]
        if ((writers != NOBODY) & (writers != program)).any():
            self.races.append(f"{argument.name} is read where another program writes")
        readers = argument.reader[at]
        argument.reader[at] = np.where((readers == NOBODY) | (readers == program), program, MANY)

    def store(self, pointers: np.ndarray, program: int) -> None:
        """Take in a store."""
        argument, at = self.find(pointers, "store")
        self.written[argument.name] = self.written.get(argument.name, 0) + at.size * argument.size
        writers, readers = argument.writer[at], argument.reader[at]
        if np.unique(at).size != at.size or (writers != NOBODY).any():
            self.races.append(f"{argument.name} is written twice")
        if ((readers != NOBODY) & (readers != program)).any():
            self.races.append(f"{argument.name} is written where another program reads")
        argument.writer[at] = program


@contextlib.contextmanager
def metered() -> Iterator[list[Launch]]:
    """Record every launch inside the block.

    Raises:
        IndexError: Inside the block, wrapped by the interpreter, where an access is out of bounds.
    """
    launches: list[Launch] = []
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store
    prepare = GridExecutor._init_args_hst  # noqa: SLF001

    def prepared(self: Any, args: Any, kwargs: Any) -> Any:
        host, named = prepare(self, args, kwargs)
        given = dict(zip(self.arg_names, host, strict=False)) | named
        arguments = [_argument(name, t) for name, t in given.items() if isinstance(t, torch.Tensor)]
        launches.append(Launch(self.fn.__name__, arguments=arguments))
        return host, named

    def loaded(self: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
        pointers = _chosen(ptrs, mask)
        if pointers.size:
            launches[-1].load(pointers, self.grid_idx[0])
        return load(self, ptrs, mask, *rest)

    def stored(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        pointers = _chosen(ptrs, mask)
        if pointers.size:
            launches[-1].store(pointers, self.grid_idx[0])
        return store(self, ptrs, value, mask, *rest)

    InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = loaded, stored
    GridExecutor._init_args_hst = prepared  # noqa: SLF001
    try:
        yield launches
    finally:
        InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = load, store
        GridExecutor._init_args_hst = prepare  # noqa: SLF001


def _argument(name: str, tensor: torch.Tensor) -> Argument:
    extent = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) + 1 if tensor.numel() else 0
    size, first = tensor.element_size(), tensor.data_ptr()
    writer = np.full(extent, NOBODY, dtype=np.int64)
    return Argument(name.removesuffix("_ptr"), first, first + extent * size, size, writer, writer.copy())


def _chosen(ptrs: Any, mask: Any) -> np.ndarray:
    return ptrs.data[np.broadcast_to(mask.data, ptrs.data.shape)].astype(np.int64)
