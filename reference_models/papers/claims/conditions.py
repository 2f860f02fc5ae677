"""Software versions, machine and git commit of a sweep, recorded with its results."""

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


def run_conditions(threads: int) -> dict[str, Any]:
    """Return the conditions stored with every run: commit, torch version, processor, accelerator, thread count."""
    return {
        "commit": commit(),
        "torch": torch.__version__,
        "processor": _processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": threads,
    }


def report_metadata(command: str) -> dict[str, Any]:
    """Return the metadata of a report: command, commit, date, machine and versions."""
    return {
        "command": command,
        "commit": commit(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"processor": _processor(), "cores": cores()},
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the git commit of this package, with a note if files were changed; ``-`` if it is not a checkout."""
    git = shutil.which("git")
    if git is None:
        return "-"
    here = Path(__file__).parent

    def git_output(*arguments: str) -> str | None:
        done = subprocess.run([git, *arguments], cwd=here, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    if git_output("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "-"
    changed = git_output("status", "--porcelain", "-uno", "--", ":/reference_models", ":/attnzoo")
    return f"{git_output('rev-parse', '--short', 'HEAD')}{' with changes' if changed else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
