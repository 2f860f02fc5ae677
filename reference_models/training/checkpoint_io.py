"""Lightning's checkpoints as safetensors, see :mod:`reference_models.training.states`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from reference_models.training.states import FORMAT, read_state, write_state

__all__ = ["FORMAT", "SafeCheckpointIO"]


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
        write_state(checkpoint, Path(path))

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
        device = str(map_location) if isinstance(map_location, str | torch.device) else "cpu"
        return read_state(Path(path), device=device)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file; it may be gone already."""
        Path(path).unlink(missing_ok=True)
