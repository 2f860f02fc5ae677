"""Weights stored with the labels of the outputs; loading fails if other labels, or another order, are expected."""

from __future__ import annotations

from pathlib import Path

import safetensors
from torch import nn

from reference_models.data.labels import Labels
from reference_models.weights import load_weights, read_weights, save_weights

KEY = "labels"


def save_labelled(module: nn.Module, path: str | Path, labels: Labels) -> None:
    """Write a network's weights with its labels, as JSON in the metadata of a safetensors file.

    Raises:
        OSError: If the file cannot be written.
    """
    save_weights(module, path, {KEY: labels.as_json()})


def read_labels(path: str | Path) -> Labels:
    """Return the labels stored in a file of weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a safetensors file, or has no labels or damaged ones.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is no valid safetensors file: {error}") from error
    if KEY not in metadata:
        raise ValueError(f"{path} does not say what its outputs stand for: write it with save_labelled")
    try:
        return Labels.from_json(metadata[KEY])
    except ValueError as error:
        raise ValueError(f"{path} has damaged labels: {error}") from error


def load_labelled(module: nn.Module, path: str | Path, labels: Labels) -> None:
    """Load weights if their labels are the expected ones in the expected order.

    Args:
        module: Module to load into.
        path: A file that :func:`save_labelled` wrote.
        labels: The expected label of each output, in order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the labels or their order differ, or the weights do not fit; the module is unchanged.
    """
    stored = read_labels(path)
    if stored != labels:
        same = stored.task == labels.task and set(stored.names) == set(labels.names)
        what = "its outputs in another order" if same else "other outputs"
        raise ValueError(f"{path} has {what}: {stored}; expected are {labels}")
    load_weights(module, read_weights(path))
