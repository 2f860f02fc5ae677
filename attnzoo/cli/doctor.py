"""``attnzoo doctor``: what is installed here, what computes, and what is missing."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from attnzoo import __version__
from attnzoo.cli import options
from attnzoo.cli.console import console, fail

VARIABLES = (
    *("ATTNZOO_ISA", "TRITON_INTERPRET", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "KMP_BLOCKTIME", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"),
    *("MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"),
)
"""Variables of the environment that change what computes or how fast."""
LIBRARIES = ("torch", "torchvision", "timm", "triton", "numpy", "onnxruntime")
"""Packages whose versions are shown."""


def doctor_command(*, json_path: options.Json = None) -> None:
    """Show versions, backends and why one is missing, devices, extras and what they lack, and the environment.

    Paste the output into a report of a problem.

    Examples:

    attnzoo doctor

    attnzoo doctor --json doctor.json
    """  # noqa: D412 - typer keeps only paragraphs apart
    if json_path is not None and not json_path.parent.is_dir():
        fail(f"--json must name a file in an existing directory, got {json_path}")
    findings = examine()
    screen = console()
    for title, rows in findings.items():
        table = Table("", "", box=box.SIMPLE, show_header=False, title=title, title_justify="left")
        for name, value in rows.items():
            table.add_row(name, value)
        screen.print(table)
    if json_path is not None:
        try:
            json_path.write_text(json.dumps(findings, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            fail(f"cannot write {json_path}: {error.strerror}")


def examine() -> dict[str, dict[str, str]]:
    """Return what ``attnzoo doctor`` shows, by section and row."""
    return {
        "versions": _versions(),
        "backends": _backends(),
        "devices": _devices(),
        "extras": _extras(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ} or {"-": "nothing is set"},
    }


def _versions() -> dict[str, str]:
    system = {"attnzoo": f"{__version__}, in {Path(__file__).parents[1]}", "python": platform.python_version()}
    system["system"] = platform.platform()
    return system | {name: _version(name) or "not installed" for name in LIBRARIES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _backends() -> dict[str, str]:
    from attnzoo.ops import backends

    return {name: ("" if info.available else "missing: ") + info.detail for name, info in backends().items()}


def _devices() -> dict[str, str]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = {
        "cpu": f"{torch.get_num_threads()} threads on {cores} processors, {torch.backends.cpu.get_cpu_capability()}"
    }
    for index in range(torch.cuda.device_count()):
        name, (major, minor) = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        rows[f"cuda:{index}"] = f"{name}, compute capability {major}.{minor}"
    if torch.backends.mps.is_available():
        rows["mps"] = "available: layers are computed by torch"
    return rows


def _extras() -> dict[str, str]:
    """Return for each extra whether its packages are installed, and the command that installs what is missing."""
    rows = {}
    for extra, packages in requirements().items():
        missing = [package for package in packages if _version(package) is None]
        rows[extra] = f'missing {", ".join(missing)}: pip install "attnzoo[{extra}]"' if missing else "installed"
    return rows


def requirements() -> Mapping[str, list[str]]:
    """Return the packages of each extra, as the metadata of the installed attnzoo has them."""
    from packaging.requirements import Requirement

    packages: dict[str, list[str]] = {}
    includes: dict[str, list[str]] = {}
    try:
        distribution: Any = metadata.distribution("attnzoo")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return packages
    needs = [Requirement(line) for line in distribution.requires or ()]
    for extra in distribution.metadata.get_all("Provides-Extra") or ():
        wanted = [need for need in needs if need.marker and need.marker.evaluate({"extra": extra})]
        packages[extra] = [need.name for need in wanted if need.name != "attnzoo"]
        includes[extra] = [name for need in wanted if need.name == "attnzoo" for name in need.extras]
    for extra, others in includes.items():  # "all" names other extras
        packages[extra] = sorted({*packages[extra], *(package for other in others for package in packages[other])})
    return packages
