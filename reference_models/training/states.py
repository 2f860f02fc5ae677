"""Training states as safetensors: tensors as tensors, everything else as JSON beside them in the same file.

A tensor comes back with the strides that it had: fused optimisers read their state and the weights side by side in the
order of memory, so that a contiguous state beside channels-last weights would be scrambled.

Nothing in such a file can run code when it is read, and a file is whole or not there: it is written beside its place
and moved into it.
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
"""Formats whose tensors lost their strides."""


class ForeignFileError(ValueError):
    """A file is whole, but of another kind."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a training state.

    Raises:
        OSError: If the file cannot be written; an older one under that name is still there.
        TypeError: If the state holds what neither safetensors nor JSON can.
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
        ValueError: If the file is damaged or none of these.
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
    """Return ``value`` as JSON holds it, with its tensors put aside; containers become pairs of kind and content."""
    if isinstance(value, Tensor):
        key = f"{len(tensors)}{name}"  # numbered: two paths may read alike
        value = value.detach().cpu()
        if value.is_contiguous() or not _is_dense(value.shape, value.stride()):
            tensors[key] = value.contiguous().clone()
            return ["tensor", key]
        tensors[key] = value.as_strided((value.numel(),), (1,)).clone()  # in the order of memory
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
    """Return whether the elements of a tensor fill their part of the memory, each place once."""
    step = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return True
