"""The file of an attachment: its tensors as safetensors, and its description as JSON in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attnzoo import files

_METADATA = "attnzoo"
_KINDS = {"version": str, "layer": str, "options": dict, "init": str, "backbone": str, "channels": dict}


def save(path: Path, state: Mapping[str, Tensor], spec: Mapping[str, Any]) -> None:
    """Write ``state`` and ``spec`` to ``path``, atomically."""
    from safetensors.torch import save as serialise

    from attnzoo import __version__

    metadata = {_METADATA: json.dumps({"version": __version__, **spec}, sort_keys=True)}
    content = serialise(_unshared(state), metadata=metadata)
    files.write_atomically(path, content, durable=True)


def _unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without shared memory, which safetensors cannot store: layers may share weights."""
    taken: set[int] = set()
    unshared = {}
    for name, tensor in state.items():
        memory = tensor.untyped_storage().data_ptr()
        alone = memory not in taken and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        taken.add(memory)
        unshared[name] = tensor.contiguous() if alone else tensor.clone(memory_format=torch.contiguous_format)
    return unshared


def load(path: Path, spec: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description in a file.

    Args:
        path: A file that :func:`save` wrote.
        spec: The description of the attachment to load into, which the file's must match.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is another kind of file, or the two differ.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    if _METADATA not in metadata:
        raise ValueError(f"{path} holds tensors but no attachment: its metadata has no entry {_METADATA!r}")
    saved = _described(path, metadata[_METADATA])
    if differences := _differences(saved, spec):
        raise ValueError(
            f"{path} is of {saved['layer']} on {saved['backbone']} (attnzoo {saved['version']}), this attachment of "
            f"{spec['layer']} on {spec['backbone']}: " + "; ".join(differences)
        )
    return state, saved


def check_tensors(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Check that two state dicts of attachments have the same keys, shapes, and kinds of dtype (float, complex, other).

    Raises:
        ValueError: If they do not; the message lists all differences.
    """
    problems = [f"{key} is missing" for key in mine if key not in theirs]
    problems += [f"{key} is not of this attachment" for key in theirs if key not in mine]
    problems += [
        f"{key} has shape {tuple(theirs[key].shape)}, here {tuple(tensor.shape)}"
        for key, tensor in mine.items()
        if key in theirs and theirs[key].shape != tensor.shape
    ]
    problems += [
        f"{key} is {theirs[key].dtype}, here {tensor.dtype}"
        for key, tensor in mine.items()
        if key in theirs
        and (theirs[key].is_floating_point(), theirs[key].is_complex())
        != (tensor.is_floating_point(), tensor.is_complex())
    ]
    if problems:
        raise ValueError("the attention does not fit: " + "; ".join(problems))


def _described(path: Path, text: str) -> dict[str, Any]:
    """Return the description in the file's metadata.

    Raises:
        ValueError: If it is not as :func:`save` writes it.
    """
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: what it says of its attachment is no JSON: {error}") from error
    if not isinstance(saved, dict):
        raise ValueError(f"{path} is damaged: it must say what its attachment is, got {str(saved)[:60]!r}")
    if wrong := [name for name, kind in _KINDS.items() if not isinstance(saved.get(name), kind)]:
        raise ValueError(f"{path} is damaged: it does not say the {', '.join(wrong)} of its attachment")
    return saved


def _differences(saved: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    differences = [
        f"{what} is {saved[what]!r} there, {spec[what]!r} here"
        for what in ("layer", "options", "init")
        if saved[what] != spec[what]
    ]
    there, here = saved["channels"], spec["channels"]
    if only := [site for site in there if site not in here]:
        differences.append(f"only there: {', '.join(only)}")
    if only := [site for site in here if site not in there]:
        differences.append(f"only here: {', '.join(only)}")
    differences += [
        f"{site} has {there[site]} channels there, {here[site]} here"
        for site in there
        if site in here and there[site] != here[site]
    ]
    return differences
