"""Iterate over and replace the tensors in a module's nested output."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

Path = tuple[int | str, ...]


def walk(output: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Yield (path, tensor) for each floating tensor in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield path, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from walk(value, (*path, key))
    elif isinstance(output, tuple | list):
        for index, value in enumerate(output):
            yield from walk(value, (*path, index))
    elif _is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from walk(getattr(output, field.name), (*path, field.name))


def replace(output: Any, change: Callable[[Path, Tensor], Tensor], path: Path = ()) -> Any:
    """Return ``output`` rebuilt with ``change(path, tensor)`` in place of each floating tensor."""
    if isinstance(output, Tensor):
        return change(path, output) if output.is_floating_point() else output
    if isinstance(output, Mapping):
        values = {key: replace(value, change, (*path, key)) for key, value in output.items()}
        return type(output)(**values) if hasattr(output, "__dataclass_fields__") else type(output)(values)  # type: ignore[call-arg]
    if isinstance(output, tuple | list):
        items = [replace(value, change, (*path, index)) for index, value in enumerate(output)]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    if _is_dataclass(output):
        names = [field.name for field in dataclasses.fields(output) if field.init]
        return dataclasses.replace(
            output, **{name: replace(getattr(output, name), change, (*path, name)) for name in names}
        )
    return output


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
