"""Reads, loads and saves weights: errors name everything that does not fit, and nothing is loaded in part."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from attnzoo.files import write_atomically

MAX_LISTED = 8
# torch's reader of pickles has no single exception for damaged files; it raises any of these.
_DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, pickle.UnpicklingError, struct.error),
)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a file.

    Args:
        path: A ``.safetensors`` file, or a ``.pth`` or ``.pt`` file, of which only tensors are unpickled. A state dict
            under the key ``state_dict`` is unwrapped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another format, is damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is no valid safetensors file: {error}") from error
    if path.suffix not in {".pth", ".pt"}:
        raise ValueError(
            f"weights must be a .safetensors, .pth or .pt file, got {path}; a pickle can run code and is not read: "
            "convert one that you trust with safetensors.torch.save_file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of pickle protocols that it then rejects
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise ValueError(f"{path} holds no plain tensors or is damaged: {error}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise ValueError(f"{path} holds {type(content).__name__}, not a state dict of tensors")
    return dict(content)


def load_weights(
    module: nn.Module, weights: Mapping[str, Tensor], *, ignore: Sequence[str] = (), keep: Sequence[str] = ()
) -> None:
    """Load a state dict after checking all of it.

    Args:
        module: Module to load into.
        weights: Name to tensor. ``num_batches_tracked`` may be missing, as in old checkpoints.
        ignore: Substrings of names; weights whose names contain one are not used.
        keep: Substrings of names; entries of ``module`` whose names contain one keep their values.

    Raises:
        ValueError: If a key is missing or unknown, a shape differs, or a tensor has another kind of numbers (integer
            instead of floating, complex instead of real); the message lists them, and the module is unchanged.
    """
    module.load_state_dict(check_weights(module, weights, ignore=ignore, keep=keep), strict=False)


def check_weights(
    module: nn.Module, weights: Mapping[str, Tensor], *, ignore: Sequence[str] = (), keep: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Check a state dict like :func:`load_weights`, and return the entries that would be loaded.

    Args:
        module: Module to check against; it may be on the meta device.
        weights: Name to tensor.
        ignore: See :func:`load_weights`.
        keep: See :func:`load_weights`.

    Raises:
        ValueError: See :func:`load_weights`.
    """
    target = {name: value for name, value in module.state_dict().items() if not _holds(name, keep)}
    source = {name: value for name, value in weights.items() if not _holds(name, ignore)}
    for name in target.keys() - source.keys():
        if name.endswith("num_batches_tracked"):
            source[name] = target[name]
    problems = {
        "missing": sorted(target.keys() - source.keys()),
        "unknown": sorted(source.keys() - target.keys()),
        "of another shape": [
            f"{name} {tuple(source[name].shape)} instead of {tuple(target[name].shape)}"
            for name in sorted(target.keys() & source.keys())
            if source[name].shape != target[name].shape
        ],
        "of another kind of numbers": [
            f"{name} {source[name].dtype} instead of {target[name].dtype}"
            for name in sorted(target.keys() & source.keys())
            if _kind(source[name]) != _kind(target[name])
        ],
    }
    if any(problems.values()):
        lines = [f"{len(names)} {what}: {_listed(names)}" for what, names in problems.items() if names]
        raise ValueError(f"the weights do not fit {type(module).__name__}: " + "; ".join(lines))
    return source


def save_weights(module: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state dict as a safetensors file, atomically.

    Args:
        module: Module whose parameters and buffers are written.
        path: Path of the file.
        metadata: Text values stored in the file's header.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata=dict(metadata or {}))
    write_atomically(path, content)


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _holds(name: str, fragments: Sequence[str]) -> bool:
    return any(fragment in name for fragment in fragments)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
