"""Lightning's checkpoint plugin for safetensors files, see :mod:`reference_models.training.states`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from reference_models.training.states import FORMAT, read_state, write_state

__all__ = ["FORMAT", "SafeCheckpointIO"]


class SafeCheckpointIO(CheckpointIO):
    """Reads and writes Lightning's training states as safetensors files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a training state.

        Raises:
            OSError: If the file cannot be written; an existing file under that name is kept.
            TypeError: If the state holds a value that neither safetensors nor JSON can hold.
        """
        if storage_options is not None:
            raise TypeError(f"storage_options must be None, got {storage_options!r}")
        write_state(checkpoint, Path(path))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,
        weights_only: bool | None = None,  # noqa: ARG002 - Lightning's signature; the file can hold nothing but weights
    ) -> dict[str, Any]:
        """Read a training state.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is not a training state of this package.
        """
        device = str(map_location) if isinstance(map_location, str | torch.device) else "cpu"
        return read_state(Path(path), device=device)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file if it exists."""
        Path(path).unlink(missing_ok=True)
