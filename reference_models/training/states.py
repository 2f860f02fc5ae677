"""Training states as safetensors files: tensors as tensors, everything else as JSON in the file's metadata.

A tensor is read back with its original strides: fused optimisers traverse their state and the weights together in
memory order, so that a contiguous state with channels-last weights would be scrambled.

Reading such a file cannot run code. Files are written atomically: under a temporary name, then renamed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from attnzoo.files import write_atomically

FORMAT = "reference-models training state 2"
_OLDER = ("reference-models training state 1",)
"""Older formats, which did not store strides."""


class ForeignFileError(ValueError):
    """An undamaged file of another format."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a training state.

    Raises:
        OSError: If the file cannot be written; an existing file under that name is kept.
        TypeError: If the state holds a value that neither safetensors nor JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    tree = _encoded(state, tensors, "")
    metadata = {"format": FORMAT, "tree": json.dumps(tree)}
    write_atomically(path, safetensors.torch.save(tensors, metadata), durable=True)


def read_state(path: Path, *, device: str = "cpu") -> dict[str, Any]:
    """Read a training state.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of an older format, or not a training state of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no training state at {path}")
    try:
        with safetensors.safe_open(path, "pt", device=device) as file:
            metadata = file.metadata() or {}
            if metadata.get("format") in _OLDER:
                raise ForeignFileError(f"{path} is of an older version, whose states cannot be resumed: train anew")
            if metadata.get("format") != FORMAT:
                raise ForeignFileError(f"{path} is no training state of this package")
            decoded: Any = _decoded(json.loads(metadata["tree"]), file.get_tensor)
    except ForeignFileError:
        raise
    except (safetensors.SafetensorError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(decoded, dict):
        raise ValueError(f"{path} is damaged: it holds {type(decoded).__name__}, not a training state")
    return decoded


def _encoded(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Return ``value`` as JSON values, with its tensors moved into ``tensors``; containers become [kind, content]."""
    if isinstance(value, Tensor):
        key = f"{len(tensors)}{name}"  # the number makes it unique: two paths may be the same text
        value = value.detach().cpu()
        if value.is_contiguous() or not _is_dense(value.shape, value.stride()):
            tensors[key] = value.contiguous().clone()
            return ["tensor", key]
        tensors[key] = value.as_strided((value.numel(),), (1,)).clone()  # in memory order
        return ["strided", [key, list(value.shape), list(value.stride())]]
    if isinstance(value, dict):
        keys = (_encoded(key, tensors, name) for key in value)
        items = (_encoded(item, tensors, f"{name}/{key}") for key, item in value.items())
        return ["dict", list(zip(keys, items, strict=True))]
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, [_encoded(item, tensors, f"{name}/{index}") for index, item in enumerate(value)]]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a training state cannot hold {type(value).__name__} at {name or 'its top'}")


def _decoded(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "tensor":
        return tensor(content)
    if kind == "strided":
        key, shape, strides = content
        flat = tensor(key)
        if flat.numel() != math.prod(shape) or not _is_dense(shape, strides):
            raise ValueError(f"{key} cannot have the shape {shape} with the strides {strides}")
        return flat.as_strided(shape, strides)
    if kind == "dict":
        return {_decoded(key, tensor): _decoded(item, tensor) for key, item in content}
    items: Iterator[Any] = (_decoded(item, tensor) for item in content)
    return list(items) if kind == "list" else tuple(items)


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether the elements of a tensor fill a contiguous part of memory without gaps or overlaps."""
    step = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return True
