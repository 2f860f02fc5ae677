"""Run the library's tests under other interpreters, oldest and newest torch, and write results/versions.json.

    python -m benchmarks.robustness.versions OLDEST/bin/python NEWEST/bin/python [--output FILE]

Each interpreter belongs to an environment of its own with torch, torchvision, timm and the test tools; attnzoo is taken
from this tree. What the extras bring is not there, so that the tests are those of attnzoo itself and of the networks.
Exit code 1 if a test failed anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT
from benchmarks.speed.interleaved import circumstances, write

RESULT = RESULTS / "versions.json"
TESTS = (
    "tests/layers",
    "tests/ops",
    "tests/attach/test_identity.py",
    "tests/attach/test_checkpoint.py",
    "tests/attach/test_survives.py",
    "tests/attach/test_kinds.py",
    "tests/reference_models/networks/test_cednn.py",
    "tests/reference_models/networks/test_cednn_inference.py",
    "tests/reference_models/networks/test_cednn_training.py",
    "tests/reference_models/networks/test_dba_net.py",
    "tests/reference_models/networks/test_lla_net.py",
    "tests/reference_models/networks/test_tra_net.py",
    "tests/test_cost.py",
)
PACKAGES = ("torch", "torchvision", "timm", "numpy", "safetensors", "typer", "rich")
_ASK = (
    "import json, platform, sys; from importlib.metadata import version; "
    "print(json.dumps({'python': platform.python_version(), **{name: version(name) for name in sys.argv[1:]}}))"
)


def main() -> int:
    """Test under each interpreter and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interpreters", nargs="+", type=Path, metavar="PYTHON")
    parser.add_argument("--tests", nargs="+", default=TESTS)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    about = circumstances("benchmarks.robustness.versions", 1)
    about["tests"] = list(arguments.tests)
    rows = [tested(interpreter, arguments.tests) for interpreter in arguments.interpreters]
    about["failures"] = {row["torch"]: row.pop("failures") for row in rows}
    write(arguments.output, about, rows)
    return int(any(row["failed"] or not row["passed"] for row in rows))


def tested(interpreter: Path, tests: list[str]) -> dict[str, Any]:
    """Return the versions of an interpreter's environment, and how many tests passed, failed and were skipped in it."""
    outside = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    asked = [str(interpreter), "-c", _ASK, *PACKAGES]
    versions = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True, env=outside).stdout)  # noqa: S603
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [str(interpreter), "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", f"--junitxml={report}"]
        subprocess.run([*command, *tests], cwd=ROOT, env=outside, check=False)  # noqa: S603
        cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest has just written it
    bad = [f"{case.get('classname')}::{case.get('name')}" for case in cases if _has(case, "failure", "error")]
    skipped = sum(_has(case, "skipped") for case in cases)
    return {
        **versions,
        "passed": len(cases) - len(bad) - skipped,
        "failed": len(bad),
        "skipped or expected to fail": skipped,
        "failures": bad,
    }


def _has(case: ET.Element, *tags: str) -> bool:
    return any(case.find(tag) is not None for tag in tags)


if __name__ == "__main__":
    sys.exit(main())
