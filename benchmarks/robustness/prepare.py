"""``reference-models prepare``: how it scales with processes, and what is left of it after two kills.

    python -m benchmarks.robustness.prepare scaling [--photographs 150] [--rounds 2]
    python -m benchmarks.robustness.prepare kills [--photographs 2000]

``scaling`` prepares the same photographs of 512 pixels (the astronaut, turned, scaled and lit) by one process and by
one for each processor, in turns, and keeps the fastest of each; starting the processes is part of it, importing is not.

``kills`` prepares small photographs with differences to neutral frames once without interruption, and once killed at
two random moments and resumed, and compares all files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage import data

from benchmarks import RESULTS
from reference_models.faces.landmarks import choose, detect
from reference_models.preparation.items import Item, scan
from reference_models.preparation.preparation import PREPARATIONS
from reference_models.preparation.run import Report, prepare
from reference_models.preparation.store import JOURNAL
from reference_models.processors import cores

SEED = 7


def photographs(root: Path, count: int, side: int) -> None:
    """Write JPEG files of the astronaut's face, turned by up to 15 degrees, scaled and lit at random."""
    draw = np.random.default_rng(SEED)
    photograph = data.astronaut()
    nose = choose(detect(photograph)).points[30]
    scale = min(1.0, side / 200)
    for number in range(count):
        turn = cv2.getRotationMatrix2D(tuple(map(float, nose)), draw.uniform(-15, 15), scale * draw.uniform(1, 1.2))
        turn[:, 2] += side / 2 - nose + draw.uniform(-4, 4, 2)
        image = cv2.warpAffine(photograph, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
        path = root / f"sequence {number // 10:04d}" / f"{number % 10}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), (image * draw.uniform(0.8, 1.0))[..., ::-1].astype(np.uint8))


def scaling(count: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each number of processes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photographs")
        photographs(root, count, 512)
        items = [Item(image) for image in scan(root).images]
        prepare(root, Path(folder, "warm-up"), items[:4], PREPARATIONS["cednn"], workers=cores())
        best: dict[int, Report] = {}
        for turn in range(rounds):
            for workers in (1, cores()):
                report = prepare(root, Path(folder, f"{turn}-{workers}"), items, PREPARATIONS["cednn"], workers=workers)
                if report.done != count:
                    raise RuntimeError(f"{report.failures} failed")
                if workers not in best or report.seconds < best[workers].seconds:
                    best[workers] = report
    return [
        {
            "processes": workers,
            "photographs": count,
            "seconds": round(report.seconds, 3),
            "photographs a second": round(report.per_second, 2),
            "times one process": round(best[1].seconds / report.seconds, 2),
            "limited by": report.limit,
            **{
                f"{stage} %": round(100 * seconds / sum(report.stages.values()), 1)
                for stage, seconds in report.stages.items()
            },
        }
        for workers, report in sorted(best.items())
    ]


def kills(count: int) -> list[dict[str, Any]]:
    """Return a row for the uninterrupted run and one for each part of the interrupted one."""
    draw = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        root, whole, broken = (Path(folder, name) for name in ("photographs", "whole", "broken"))
        photographs(root, count, 160)
        rows = []
        for out, targets in (
            (whole, [count]),
            (broken, [*sorted(draw.choice(np.arange(1, count), 2, replace=False).tolist()), count]),
        ):
            for target in targets:
                before = done(out)
                status = run_until(root, out, target if target < count else None)
                files, digest = summary(out) if target == count else (None, None)
                rows.append(
                    {
                        "run": out.name,
                        "ended": "killed" if status == -signal.SIGKILL else f"exit code {status}",
                        "done before": before,
                        "done after": done(out) if target < count else count,
                        "files": files,
                        "sha256 of all": digest,
                        "same bytes": None if files is None else summary(out) == summary(whole),
                    }
                )
    return rows


def run_until(root: Path, out: Path, target: int | None) -> int:
    """Run the command, kill it when so many photographs are done, and return its exit code."""
    program = Path(sys.executable).with_name("reference-models")
    command = [program, "prepare", root, "-o", out, "--neutral", "first"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    while target is not None and process.poll() is None and done(out) < target:
        time.sleep(0.01)
    if target is not None:
        process.kill()
    return process.wait()


def done(out: Path) -> int:
    try:
        return (out / JOURNAL).read_bytes().count(b"\n") - 1
    except FileNotFoundError:
        return 0


def summary(out: Path) -> tuple[int, str]:
    """Return the number of files under a folder and a hash of their paths and contents."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(out).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return len(files), digest.hexdigest()[:16]


def save(name: str, rows: list[dict[str, Any]]) -> None:
    root = Path(__file__).parents[1]
    command = ["git", "-C", root, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - the repository's own git
    packages = ("dlib-bin", "numpy", "opencv-python-headless", "pillow")
    result = {
        "command": f"python -m benchmarks.robustness.prepare {' '.join(sys.argv[1:])}",
        "commit": commit.stdout.strip(),
        "machine": {"processor": processor(), "cores": cores()},
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in packages},
        "rows": rows,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


def processor() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scaling", "kills"))
    parser.add_argument("--photographs", type=int)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.what == "scaling":
        save("prepare", scaling(options.photographs or 150, options.rounds))
    else:
        save("prepare-kills", kills(options.photographs or 2000))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
