"""Networks that take turns, each in a process of its own: as users have them, and none in another's memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import environments
from benchmarks.added_time import Pass, in_turns, summary

ROOT = Path(__file__).parents[1]
PAUSE = 0.005
"""Seconds before each pass, in which the threads of the one before fall asleep."""


class Worker:
    """A process that runs :mod:`benchmarks.network_worker`."""

    def __init__(self, graph: str, file: Path, environment: str, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.network_worker", graph, str(file), str(threads)]
        environ = environments.environ(environment)
        self._name, self._environment = f"{file.stem}, {graph}", environment
        self._process = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def wait_until_loaded(self) -> None:
        """Wait until it has its network.

        Raises:
            RuntimeError: If it finds other variables than those of the environment, or has stopped.
        """
        found = self._answer()
        if found != environments.ENVIRONMENTS[self._environment]:
            raise RuntimeError(f"the environment {self._environment!r} became {found} in the process of {self._name}")

    def say(self, *words: object) -> None:
        """Tell it something."""
        self._process.stdin.write(json.dumps(words) + "\n")

    def wait_until_ready(self) -> None:
        """Wait until it has prepared the case that it was told."""
        self._answer()

    def run(self) -> Pass:
        """Let it run its network once."""
        time.sleep(PAUSE)
        self.say("pass")
        return Pass(*self._answer())

    def stop(self) -> None:
        """Let it end, and wait until it has."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self._name} has stopped, with exit code {self._process.wait()}")
        return json.loads(line)


def make(folder: Path, networks: Sequence[str], *, onnx: bool = False) -> list[Path]:
    """Make networks in a process of their own; return their files in the folder, ONNX files beside them if wanted."""
    command = [sys.executable, "-m", "benchmarks.resnet50_cases", str(folder), "onnx" if onnx else "pt", *networks]
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603
    return [folder / f"{network}.pt" for network in networks]


@contextmanager
def started(graph: str, files: Sequence[Path], environment: str, threads: int) -> Iterator[dict[str, Worker]]:
    """Start a worker for each network, and stop them at the end; their names are those of the files."""
    found = {file.stem: Worker(graph, file, environment, threads) for file in files}
    try:
        for worker in found.values():
            worker.wait_until_loaded()
        yield found
    finally:
        for worker in found.values():
            worker.stop()


def figures(
    workers: Mapping[str, Worker], mode: str, batch: int, rounds: int, rivals: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Measure a case, and return the figures of each network, see :func:`benchmarks.added_time.summary`."""
    for worker in workers.values():
        worker.say("case", mode, batch)
    for worker in workers.values():
        worker.wait_until_ready()
    return summary(in_turns({name: worker.run for name, worker in workers.items()}, rounds), rivals)
