"""What a sweep was made with: versions, machine, and the commit where the package is a checkout."""

from __future__ import annotations

import datetime as dt
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from reference_models.processors import cores

PACKAGES = ("attnzoo", "torch", "torchvision", "timm", "lightning", "numba", "scikit-learn", "scikit-image")


def of_a_run(threads: int) -> dict[str, Any]:
    """Return what is written beside every run."""
    return {
        "commit": commit(),
        "torch": torch.__version__,
        "processor": _processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": threads,
    }


def about(command: str) -> dict[str, Any]:
    """Return what is written above the table: command, commit, date, machine and versions."""
    return {
        "command": command,
        "commit": commit(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"processor": _processor(), "cores": cores()},
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the commit of the checkout that this package is, with a note if it was changed; ``-`` if it is none."""
    git = shutil.which("git")
    if git is None:
        return "-"
    here = Path(__file__).parent

    def said(*arguments: str) -> str | None:
        done = subprocess.run([git, *arguments], cwd=here, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    if said("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "-"
    changed = said("status", "--porcelain", "-uno", "--", ":/reference_models", ":/attnzoo")
    return f"{said('rev-parse', '--short', 'HEAD')}{' with changes' if changed else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
