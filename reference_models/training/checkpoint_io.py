"""Lightning's checkpoints as safetensors: tensors as tensors, everything else as JSON beside them in the same file.

Nothing in such a file can run code when it is read, and a file is whole or not there: it is written beside its place
and moved into it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor

from attnzoo.files import write_atomically

FORMAT = "reference-models training state 1"


class ForeignFileError(ValueError):
    """A file is whole, but of another kind."""


class SafeCheckpointIO(CheckpointIO):
    """Reads and writes training states for Lightning's trainer."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a training state.

        Raises:
            OSError: If the file cannot be written; an older one under that name is still there.
            TypeError: If the state holds what neither safetensors nor JSON can.
        """
        if storage_options is not None:
            raise TypeError(f"storage_options must be None, got {storage_options!r}")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        tree = _encoded(checkpoint, tensors, "")
        metadata = {"format": FORMAT, "tree": json.dumps(tree)}
        write_atomically(path, safetensors.torch.save(tensors, metadata), durable=True)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,
        weights_only: bool | None = None,  # noqa: ARG002 - Lightning's signature; nothing else can be in the file
    ) -> dict[str, Any]:
        """Read a training state.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or none of these.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no training state at {path}")
        device = str(map_location) if isinstance(map_location, str | torch.device) else "cpu"
        try:
            with safetensors.safe_open(path, "pt", device=device) as file:
                metadata = file.metadata() or {}
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

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file; it may be gone already."""
        Path(path).unlink(missing_ok=True)


def _encoded(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Return ``value`` as JSON holds it, with its tensors put aside; containers become pairs of kind and content."""
    if isinstance(value, Tensor):
        key = f"{len(tensors)}{name}"  # numbered: two paths may read alike
        tensors[key] = value.detach().cpu().contiguous().clone()
        return ["tensor", key]
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
    if kind == "dict":
        return {_decoded(key, tensor): _decoded(item, tensor) for key, item in content}
    items: Iterator[Any] = (_decoded(item, tensor) for item in content)
    return list(items) if kind == "list" else tuple(items)
