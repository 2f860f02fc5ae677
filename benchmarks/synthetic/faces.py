"""Measure the synthetic faces, and write results/synthetic-*.json.

    python -m benchmarks.synthetic.faces speed        pictures a second on two cores, beside a renderer from PyPI
    python -m benchmarks.synthetic.faces detection    how many of the faces dlib finds, and where it sees landmarks
    python -m benchmarks.synthetic.faces learning     HOG and ridge regression on unseen persons
    python -m benchmarks.synthetic.faces networks     the four networks beside it; goes on where it was interrupted

``speed`` wants a machine that does nothing else. It also times moderngl where that is installed: OpenGL by the
processor, the same triangles with nothing but a lamp.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks import RESULTS, ROOT
from reference_models.data.synthetic import plan
from reference_models.data.synthetic.head import load_head
from reference_models.data.synthetic.mesh import normals, place
from reference_models.data.synthetic.raster import rasterize
from reference_models.data.synthetic.writing import encode

SIZES = (112, 224)
PERSONS, FRAMES = 24, 7
CORES = 2
NETWORKS = ("cednn", "tra-net", "lla-net", "dba-net")
RUNS = ROOT / "benchmarks" / ".cache" / "synthetic-networks"
DETECTED = 1000

Row = dict[str, object]


def main() -> int:
    """Measure what is named and write its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=[*PARTS, "networks"])
    parser.add_argument(
        "--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="of 'networks': those that are trained now"
    )
    parser.add_argument("--runs", type=Path, default=RUNS, help="of 'networks': folder of the runs [%(default)s]")
    parser.add_argument("--identities", type=int, help="of 'networks': persons [as 'reference-models train' takes]")
    arguments = parser.parse_args()
    what = arguments.what
    rows = networks(arguments.only, arguments.runs, arguments.identities) if what == "networks" else PARTS[what]()
    packages = ("torch", "lightning", "numpy", "numba", "pillow", "dlib-bin", "scikit-image", "scikit-learn")
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.synthetic.faces", *sys.argv[1:]]),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whatever git the user has
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip(),
        "machine": {"processor": _processor(), "cores": len(os.sched_getaffinity(0))},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "rows": rows,
    }
    path = RESULTS / f"synthetic-{what}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rows, indent=1))
    return 0


def speed() -> list[Row]:
    """Return pictures a second by two processes, and the milliseconds of what can be compared."""
    rows: list[Row] = []
    for size in SIZES:
        for what, name in (("rendered", ""), ("rendered and encoded as PNG", "x.png")):
            rows.append(_row(f"{what}, {CORES} processes", size, _throughput(size, name), "pictures a second"))
    for size in SIZES:
        rows.append(_row("z-buffer, 1 process", size, _milliseconds(_z_buffer(size)), "ms"))
        if importlib.util.find_spec("moderngl"):
            name = f"moderngl {version('moderngl')} on the processor: triangles and one lamp, 1 process"
            rows.append(_row(name, size, _milliseconds(_moderngl(size)), "ms"))
        shots = iter(plan("frames", identities=PERSONS, frames=FRAMES))
        rows.append(_row("whole picture, 1 process", size, _milliseconds(lambda: next(shots).take(size)), "ms"))  # noqa: B023
    return rows


def _row(what: str, size: int, value: float, unit: str) -> Row:
    return {"what": what, "side": size, "value": round(value, 1), "unit": unit}


def _throughput(size: int, name: str) -> float:
    """Return the sum of what each of the processes does a second while all of them work."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(CORES), context.SimpleQueue()
    workers = [context.Process(target=_work, args=(index, size, name, barrier, rates)) for index in range(CORES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates.get() for _ in workers)


def _work(index: int, size: int, name: str, barrier, rates) -> None:
    shots = plan("frames", identities=PERSONS, frames=FRAMES, seed=index)
    encode(shots[0].take(size), "warm.png")
    barrier.wait()
    start = time.perf_counter()
    for shot in shots:
        picture = shot.take(size)
        if name:
            encode(picture, name)
    rates.put(len(shots) / (time.perf_counter() - start))


def _milliseconds(call: Callable[[], object], rounds: int = 60) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _z_buffer(size: int) -> Callable[[], object]:
    head = load_head()
    screen = place(head.vertices, 1.0, 40.0, 0.0, 7.1, 2 * size / 2.6, 2 * size)
    one_sided = np.zeros(len(head.triangles), dtype=bool)
    return lambda: rasterize(screen, head.triangles, one_sided, 2 * size, 2 * size)


def _moderngl(size: int) -> Callable[[], object]:
    import moderngl

    head = load_head()
    context = moderngl.create_standalone_context(backend="egl")
    program = context.program(
        vertex_shader="#version 330\nin vec3 p; in vec3 n; out vec3 m;"
        "void main() { m = n; gl_Position = vec4(p.x / 1.3, (p.y - 7.1) / 1.3, -p.z * 0.2, 1.0); }",
        fragment_shader="#version 330\nin vec3 m; out vec4 c;"
        "void main() { c = vec4(vec3(0.8, 0.6, 0.5) * max(dot(normalize(m), vec3(0.3, 0.4, 0.85)), 0.0), 1.0); }",
    )
    points = [array.astype(np.float32).tobytes() for array in (head.vertices, normals(head.vertices, head.triangles))]
    buffers = [context.buffer(content) for content in points]
    faces = context.buffer(head.triangles.astype(np.int32).tobytes())
    drawn = context.vertex_array(program, [(buffers[0], "3f", "p"), (buffers[1], "3f", "n")], faces)
    context.enable(moderngl.DEPTH_TEST)
    frame = context.simple_framebuffer((2 * size, 2 * size))

    def draw() -> bytes:
        for buffer, content in zip(buffers, points, strict=True):  # every face moves
            buffer.write(content)
        frame.use()
        frame.clear()
        drawn.render()
        read: bytes = frame.read(components=3)
        return read

    return draw


def detection() -> list[Row]:
    """Return how many faces dlib finds, and how far its landmarks are from the exact ones."""
    from reference_models.faces.landmarks import detect

    rows: list[Row] = []
    for style, sizes in (("studio", SIZES), ("held-out", SIZES[:1])):
        for size in sizes:
            shots = plan("frames", identities=DETECTED // (FRAMES + 1), frames=FRAMES, seed=1, style_name=style)
            found, errors = 0, []
            for shot in shots:
                picture = shot.take(size)
                faces = detect(picture.image, refine=1)
                if faces:
                    found += 1
                    eyes = np.linalg.norm(picture.landmarks[36] - picture.landmarks[45])
                    errors.append(np.linalg.norm(faces[0].points - picture.landmarks, axis=1).mean() / eyes)
            rows.append(
                {
                    "style": style,
                    "side": size,
                    "faces": len(shots),
                    "found, %": round(100 * found / len(shots), 2),
                    "landmarks apart, % of the eyes' distance": round(100 * float(np.median(errors)), 2),
                }
            )
    return rows


def learning() -> list[Row]:
    """Return what HOG and ridge regression learn."""
    from benchmarks.synthetic.learning import learn

    return learn()


def networks(names: Sequence[str], folder: Path, identities: int | None) -> list[Row]:
    """Return what the networks learn, and HOG and ridge regression on the same persons."""
    from benchmarks.synthetic.networks import compare

    return compare(names, folder, identities)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


PARTS: dict[str, Callable[[], list[Row]]] = {"speed": speed, "detection": detection, "learning": learning}

if __name__ == "__main__":
    sys.exit(main())
