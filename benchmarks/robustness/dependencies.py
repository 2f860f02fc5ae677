"""List what attnzoo depends on, with versions, licences and known vulnerabilities; write results/dependencies.json.

    python -m benchmarks.robustness.dependencies [--pip-audit PROGRAM] [--output FILE]

The licences are those that the installed packages state. The vulnerabilities are asked for by pip-audit, which needs
the network; without it none is claimed to be absent.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from benchmarks import RESULTS, ROOT
from benchmarks.speed.interleaved import circumstances, write

RESULT = RESULTS / "dependencies.json"
_NAME = re.compile(r"[\w.-]+")
_LONGEST = 60
_CLASSIFIER = "License :: OSI Approved :: "


def main() -> int:
    """Look at the packages and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip-audit", default="", help="the program; without it nothing is asked")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    about = circumstances("benchmarks.robustness.dependencies", 1)
    needed = _needed()
    versions = {name: metadata.version(name) for name in needed}
    known, said = _vulnerabilities(arguments.pip_audit, versions)
    about["vulnerabilities"] = said
    rows = [
        {
            "package": name,
            "needed for": ", ".join(extras) or "everything",
            "version": versions[name],
            "licence": _licence(name),
            "known vulnerabilities": known.get(name.lower().replace("_", "-"), "not asked"),
        }
        for name, extras in needed.items()
    ]
    write(arguments.output, about, rows)
    print(said)
    return int(any(row["known vulnerabilities"] not in {"none", "not asked", "not known"} for row in rows))


def _needed() -> dict[str, list[str]]:
    """Return the direct dependencies with the extras that need them; an empty list for all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "all"}
    found: dict[str, list[str]] = {_NAME.match(line)[0]: [] for line in project["dependencies"]}
    for extra, lines in extras.items():
        for line in lines:
            found.setdefault(_NAME.match(line)[0], []).append(extra)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _licence(name: str) -> str:
    about = metadata.metadata(name)
    stated = (about.get("License-Expression") or about.get("License") or "").replace("UNKNOWN", "")
    if stated and "\n" not in stated and len(stated) <= _LONGEST:
        return stated
    classified = [line.removeprefix(_CLASSIFIER) for line in about.get_all("Classifier", ()) if _CLASSIFIER in line]
    return ", ".join(classified) or (stated.splitlines()[0] if stated else "not stated")


def _vulnerabilities(program: str, versions: dict[str, str]) -> tuple[dict[str, str], str]:
    """Return the vulnerabilities by package, and what is to be said of the audit."""
    if not program:
        return {}, "pip-audit was not run"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version.partition('+')[0]}\n" for name, version in versions.items())
        file.flush()
        command = [program, "--disable-pip", "--no-deps", "--progress-spinner=off", "-f", "json", "-r", file.name]
        run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if not run.stdout.strip():
        return (
            {},
            f"pip-audit could not ask: {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else 'no answer'}",
        )
    found = {}
    for package in json.loads(run.stdout)["dependencies"]:
        ids = [one["id"] for one in package.get("vulns", ())]
        found[package["name"].lower()] = "not known" if "skip_reason" in package else ", ".join(ids) or "none"
    unknown = sum(answer == "not known" for answer in found.values())
    said = f"pip-audit asked PyPI for {len(found)} packages"
    return found, said + (f", which answered for {len(found) - unknown}: the others are not known" if unknown else "")


if __name__ == "__main__":
    sys.exit(main())
