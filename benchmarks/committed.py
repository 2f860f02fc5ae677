"""The results in a folder such as ``benchmarks/results``, which the documentation and the report are generated from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

KNOWN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ledger": ("The papers' figures beside ours", "reference-models ledger --json benchmarks/results/ledger.json"),
        "claims-small": ("The papers' claims on synthetic faces", "reference-models claims --budget small"),
        "layers-cpu": ("Every layer on one map", "python -m benchmarks.speed.layers"),
        "ops-cpu": ("CBAM and SE by every implementation", "python -m benchmarks.speed.ops"),
        "goals": ("What speed is held to", "python -m docs.generate"),
        "resnet50": ("What CBAM and SE add to ResNet-50", "python -m benchmarks.speed.resnet50"),
        "graphs": ("ResNet-50 with CBAM, compiled and exported", "python -m benchmarks.speed.graphs"),
        "networks-cpu": ("LLA-Net, DBA's head and their operations", "python -m benchmarks.speed.networks"),
        "cednn-cpu": ("CEDNN against ResNet-18", "python -m benchmarks.speed.cednn"),
        "attach-sweep": ("Attaching to every family of models", "python -m benchmarks.sweeps.attach"),
        "attach-overhead": ("What being attached costs by itself", "python -m benchmarks.speed.attach_overhead"),
        "capabilities": ("What works with what", "python -m tests.capabilities"),
        "export": ("Exported, and run by onnxruntime and torch.export", "python -m benchmarks.sweeps.export"),
        "versions": ("The tests with other versions of torch", "python -m benchmarks.robustness.versions"),
        "triton-builds": ("What the Triton kernels move", "python -m benchmarks.triton.build"),
    }
)
"""Each result that has a place in the report: what it is, and the command that measures or counts it."""


class Results:
    """The results in one folder, and which of them have been read, so that the report can show the rest too.

    Args:
        folder: Where the files are, ``NAME.json`` each.

    Raises:
        ValueError: If there is no such folder, or no result in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(
                f"there is no folder of results at {folder}; name one by --results: benchmarks/results of attnzoo's "
                "repository has those that are published"
            )
        self.folder = folder
        self.names = sorted(path.stem for path in folder.glob("*.json"))
        self.shown: set[str] = set()
        if not self.names:
            raise ValueError(f"the folder {folder} holds no result, a file NAME.json each")

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a result, or None if it is not there.

        Raises:
            ValueError: If the file is no JSON object.
        """
        if name not in self.names:
            return None
        self.shown.add(name)
        return self.look(name)

    def need(self, name: str) -> dict[str, Any]:
        """Return a result that must be there.

        Raises:
            ValueError: If it is not there, or the file is no JSON object.
        """
        found = self.read(name)
        if found is None:
            command = f"; to measure it: {KNOWN[name][1]}" if name in KNOWN else ""
            raise ValueError(f"there is no result {self.folder / name}.json{command}")
        return found

    def look(self, name: str) -> dict[str, Any]:
        """Return a result without noting that it has been shown; an empty one if it is not there.

        Raises:
            ValueError: If the file is no JSON object.
        """
        if name not in self.names:
            return {}
        path = self.folder / f"{name}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # no JSON, no UTF-8
            raise ValueError(f"{path} is no result: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{path} is no result: it must hold a JSON object, not {type(found).__name__}")
        return found

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a result, none if it is not there.

        Raises:
            ValueError: If it is no result, or its rows are no list of objects.
        """
        result = self.read(name)
        found = [] if result is None else result.get("rows")
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ValueError(f"{self.folder / name}.json is no result: its rows must be a list of objects")
        return found


def source(result: Mapping[str, Any]) -> str:
    """Return where a result was made: command, commit, date, machine and versions, as far as it says so."""
    said = []
    if command := result.get("command"):
        said.append(f"{command}")
    conditions = {**result.get("machine", {}), **result.get("versions", {}), **result.get("conditions", {})}
    commit = result.get("commit") or conditions.pop("commit", "")
    if commit:
        said.append(f"commit {str(commit)[:10]}")
    if date := result.get("date"):
        said.append(str(date)[:10])
    shown = (f"{key} {value}" for key, value in conditions.items() if isinstance(value, (str, int, float)))
    return "; ".join([*said, ", ".join(shown)]).strip("; ")
