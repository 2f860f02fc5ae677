"""Run the tests of the operations on CPU kernels built with AddressSanitizer and UBSan; write results/sanitizers.json.

    python -m benchmarks.robustness.sanitize [--isa avx512 avx2 baseline] [--output FILE]

Works on a copy of the tree, so that the library in it stays as it is. First a call that reads beyond the end of a
tensor must be caught: a sanitizer that sees nothing would pass every test. Exit code 1 if anything is found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnzoo.kernels.cpu.library import instruction_sets
from benchmarks import RESULTS, ROOT
from benchmarks.speed.interleaved import circumstances, write

RESULT = RESULTS / "sanitizers.json"
COPIED = ("attnzoo", "tests", "setup.py", "pyproject.toml", "conftest.py", "README.md", "LICENSE")
TESTS = (
    *(
        "tests/ops/test_boundary.py",
        "tests/ops/test_kernels.py",
        "tests/ops/test_reading.py",
        "tests/ops/test_values.py",
    ),
    *("tests/ops/gates/test_apply_gates.py", "tests/ops/gates/test_gate_images.py"),
    *("tests/ops/dense/test_linear.py", "tests/ops/dense/test_winograd.py", "tests/ops/igc"),
)
"""All of the operations' tests but those of dispatch, compilation and export, which run no other kernels."""
THREADS = (1, 2)
FAILURES = 1
"""What pytest ends with where a test fails; a sanitizer ends the process with another number."""
OUT_OF_BOUNDS = """
import torch
from attnzoo.kernels.cpu import launch
from attnzoo.kernels.cpu.library import kernels
few, many = torch.zeros(4), torch.zeros(1, 64, 16, 16)
kernels().global_pool(launch._map(many), few.data_ptr(), many.data_ptr(), many.data_ptr(), many.data_ptr())
"""
FOUND = re.compile(r"ERROR: AddressSanitizer: [\w-]+|runtime error: .*")


def main() -> int:
    """Build, make sure that the sanitizers see, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", nargs="+", default=instruction_sets(), choices=instruction_sets())
    parser.add_argument("--tests", nargs="+", default=TESTS)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    compiler = os.environ.get("CXX", "g++")
    about = circumstances("benchmarks.robustness.sanitize", max(THREADS))
    about["versions"]["compiler"] = _said(compiler, "--version").splitlines()[0]
    about["tests"] = list(arguments.tests)
    with tempfile.TemporaryDirectory(prefix="attnzoo-sanitized.") as folder:
        tree = Path(folder)
        _copy(tree)
        environment = _environment(tree, compiler)
        built = {**os.environ, "ATTNZOO_SANITIZE": "1"}
        subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, env=built, check=True)
        rows = []
        for isa in arguments.isa:
            chosen = {**environment, "ATTNZOO_ISA": isa}
            _must_be_caught(tree, chosen)
            rows += [_tried(tree, chosen, arguments.tests, isa, threads) for threads in THREADS]
    write(arguments.output, about, rows)
    return int(any(row["found by the sanitizers"] != "nothing" for row in rows))


def _tried(tree: Path, environment: dict[str, str], tests: Sequence[str], isa: str, threads: int) -> dict[str, Any]:
    """Return what a run of the tests found.

    With one thread, for which they are written, they must pass as well. With several, some are judged by sums of
    torch's that come out otherwise, or expect what one thread takes: there only the sanitizers are asked.
    """
    shared = (ROOT / "tests" / "conftest.py").read_text()
    one = "torch.set_num_threads(1)"
    if one not in shared:
        sys.exit("tests/conftest.py sets the number of threads in another way than this script knows")
    (tree / "tests" / "conftest.py").write_text(shared.replace(one, f"torch.set_num_threads({threads})"))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    print(run.stdout[-3000:], run.stderr[-6000:], flush=True)
    passed, report = re.search(r"(\d+) passed", run.stdout), FOUND.search(run.stdout + run.stderr)
    well = run.returncode == 0 or (threads > 1 and run.returncode == FAILURES)
    found = report[0] if report else ("nothing" if well else f"exit {run.returncode}")
    return {
        "instruction set": isa,
        "threads": threads,
        "tests passed": int(passed[1]) if passed else 0,
        "found by the sanitizers": found,
    }


def _copy(tree: Path) -> None:
    """Copy what is built and tested, without the library that is there."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(source, tree / name)


def _environment(tree: Path, compiler: str) -> dict[str, str]:
    """Return the environment in which Python, which is not sanitized itself, loads a library that is."""
    runtimes = [_said(compiler, f"-print-file-name={name}.so").strip() for name in ("libasan", "libubsan", "libstdc++")]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0",  # Python leaks and mixes as it likes
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": str(max(THREADS)),
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(tree),
    }


def _must_be_caught(tree: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", OUT_OF_BOUNDS]
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if not re.search(r"ERROR: AddressSanitizer: (?s:.)* in attnzoo::", run.stderr):
        sys.exit(f"the sanitizers are blind: a read out of bounds ended with {run.returncode}\n{run.stderr[-3000:]}")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
