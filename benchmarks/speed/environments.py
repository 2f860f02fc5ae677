"""The environments that speed is measured in: a plain shell's, and one that was tuned for measuring.

What a process finds in these variables decides how long it takes. glibc gives every large map back to the system and
takes it anew unless it is told otherwise (``MALLOC_*``), and OpenMP's threads keep the cores awake between two calls or
do not (``OMP_*``, ``KMP_*``). Users set none of them; a benchmark that does must say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import ROOT

PREFIXES = ("MALLOC_", "OMP_", "KMP_", "GOMP_", "MKL_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""What the names of variables begin with that allocators and thread pools read."""
ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "tuned": {
        "OMP_WAIT_POLICY": "passive",  # waiting threads must not take the cores from others
        "MALLOC_MMAP_THRESHOLD_": "33554432",  # the most that glibc takes; maps are kept, not returned to the system
        "MALLOC_TRIM_THRESHOLD_": "4000000000",
    },
}
"""The variables that are set in each, and no others of their kind: a plain shell's first."""


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return those variables that matter, as they are in ``environ``."""
    return {name: value for name, value in sorted(environ.items()) if name.startswith(PREFIXES)}


def environ(name: str) -> dict[str, str]:
    """Return this process' environment, in which those of ``ENVIRONMENTS[name]`` replace all variables of the kind."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIXES)}
    return {**kept, **ENVIRONMENTS[name]}


def name() -> str:
    """Return which of the environments this process is in, or ``"neither"``."""
    found = variables()
    return next((each for each, wanted in ENVIRONMENTS.items() if found == wanted), "neither")


def rows(wanted: str, module: str, *arguments: object) -> list[dict[str, Any]]:
    """Run ``python -m module *arguments`` in the environment ``wanted``, and return the rows that it prints.

    Args:
        wanted: One of :data:`ENVIRONMENTS`.
        module: Its last line is a JSON object: ``rows``, and the ``variables`` that it has found.
        *arguments: Of the command.

    Raises:
        RuntimeError: If it found other variables than those of the environment.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environ(wanted), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found = json.loads(done.stdout.rpartition("\n")[2])
    if found["variables"] != ENVIRONMENTS[wanted]:
        raise RuntimeError(f"the environment {wanted!r} became {found['variables']} in the process measured")
    measured: list[dict[str, Any]] = found["rows"]
    return measured


def restart_in(wanted: str, module: str) -> None:
    """Start ``python -m module`` anew in the environment ``wanted``, in place of this process, unless it is there."""
    if name() != wanted:
        again = [sys.executable, "-m", module, *sys.argv[1:]]
        os.execve(sys.executable, again, environ(wanted))  # noqa: S606 - this very script
