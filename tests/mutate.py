"""Shows that the tests see: each mutation of a layer must turn its tests red.

Run by hand, ``python tests/mutate.py [part of a source's name or of a mutation's ...]``; pytest does not collect it.
Every mutation is made in a temporary copy of the package and its tests, never in the working tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.mutations import SUBJECTS, Mutation, Subject  # noqa: E402 - found only after the line above

COPIED = (
    "pyproject.toml",
    "attnzoo",
    "tests/__init__.py",
    "tests/conftest.py",
    "tests/capabilities",
    "tests/layers",
    "tests/oracles",
    "tests/ops",
)


def main(wanted: list[str]) -> int:
    """Print the table; return 1 if a mutation survives or the unchanged source is red."""
    jobs: list[tuple[Subject, Mutation | None]] = []
    for subject in SUBJECTS:
        kept = [m for m in subject.mutations if not wanted or any(w in f"{subject.source} {m.what}" for w in wanted)]
        jobs += [(subject, mutation) for mutation in (None, *kept) if kept]
    killed, good = 0, True
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda job: verdict(*job), jobs)
        for (subject, mutation), (red, first) in zip(jobs, results, strict=True):
            good &= red == (mutation is not None)
            killed += red and mutation is not None
            word = "red" if red else "GREEN" if mutation else "green"
            what = mutation.what if mutation else "(unchanged)"
            print(f"{word:6}{subject.source:36}{what:34}{first}", flush=True)
    print(f"{killed} of {sum(m is not None for _, m in jobs)} mutations turn the tests red")
    return 0 if good else 1


def verdict(subject: Subject, mutation: Mutation | None) -> tuple[bool, str]:
    """Return whether the subject's tests are red under the mutation, and the first of them that fails."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in COPIED:
            source, target = ROOT / part, copy / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        if mutation is not None:
            apply(copy / subject.source, mutation)
        for tests in subject.tests:
            command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
            environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            if done.returncode < 0:
                return True, f"killed by signal {-done.returncode}"
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
            if done.returncode not in {0, 1} or (done.returncode == 1) != bool(failed):
                raise RuntimeError(f"{subject.source}, {mutation}: pytest could not run\n{done.stdout}{done.stderr}")
            if failed:
                return True, failed[0].split("::")[1].split(" - ")[0]
    return False, ""


def apply(path: Path, mutation: Mutation) -> None:
    """Change the file; a mutation whose text is gone or ambiguous is itself out of date."""
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{path.name}: {mutation.old!r} must occur once, occurs {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
