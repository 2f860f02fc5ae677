"""Where the time of a call of CBAM goes on the CPU: in the kernel, or around it; write results/gate-call-cpu.json.

    python -m benchmarks.speed.gate_call [--rounds 21] [--threads 2]

``cold``: a call of timm's CBAM and a copy of the map stand between two calls, as other layers do in a network, and have
the caches for themselves. ``warm``: nothing stands between. ``kernel`` is the native call, ``around`` everything else
of a call in inference: the modules that are read, torch's functions, the output's memory. ``around_python`` is the same
where Python reads the modules, as it does where ``read_modules.cpp`` was not built.
``timm_over_kernel`` is what the goals would read if nothing were around it. Medians in microseconds, of NCHW maps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any
from unittest import mock

import torch

import attnzoo
from attnzoo.kernels.cpu.library import kernels
from attnzoo.ops import reading
from benchmarks import RESULTS
from benchmarks.speed.interleaved import measured
from benchmarks.speed.ops_cases import DTYPES, SHAPES, Case, runner

RESULT = RESULTS / "gate-call-cpu.json"
WARM_UP = 3


class Timed:
    """The kernel, and how long its last call took."""

    def __init__(self) -> None:
        self._call = kernels().gate_images
        self.seconds = 0.0

    def __call__(self, *arguments: Any) -> int:
        """Call it."""
        start = time.perf_counter()
        status = self._call(*arguments)
        self.seconds = time.perf_counter() - start
        return status


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each dtype and shape."""
    with torch.no_grad():
        attnzoo.CBAM(8).eval()(torch.zeros(1, 8, 2, 2))  # C++ takes the kernel's address before Python's is another
    kernels().gate_images = kernel = Timed()
    return [_row(Case("cbam", shape, dtype, "NCHW", "forward"), kernel, rounds) for dtype in DTYPES for shape in SHAPES]


def _row(case: Case, kernel: Timed, rounds: int) -> dict[str, Any]:
    x = case.map()
    target = torch.empty_like(x)
    ours, theirs = (runner(case, provider, x, x) for provider in ("attnzoo native", "timm"))
    between: list[float] = []

    def others() -> None:
        target.copy_(x)
        between.append(_seconds(theirs))

    cold = _split(ours, kernel, rounds, others)
    warm = _split(ours, kernel, rounds, lambda: None)
    timm = median(between[WARM_UP:])
    return {
        "dtype": case.dtype,
        "shape": "x".join(map(str, case.shape)),
        **{f"{name}_cold_us": round(value * 1e6, 1) for name, value in cold.items()},
        **{f"{name}_warm_us": round(value * 1e6, 1) for name, value in warm.items()},
        "timm_us": round(timm * 1e6, 1),
        "timm_over_ours": round(timm / (cold["kernel"] + cold["around"]), 2),
        "timm_over_kernel": round(timm / cold["kernel"], 2),
    }


def _split(ours: Any, kernel: Timed, rounds: int, between: Callable[[], None]) -> dict[str, float]:
    """Return the median of the kernel, and how much more a call takes by either reader of modules."""
    inside, whole, whole_python = [], [], []
    for _ in range(WARM_UP + rounds):
        between()
        with mock.patch.object(reading, "_reader", None):
            whole_python.append(_seconds(ours))
        inside.append(kernel.seconds)
        between()
        whole.append(_seconds(ours))
    alone, called, called_python = (median(times[WARM_UP:]) for times in (inside, whole, whole_python))
    return {"kernel": alone, "around": called - alone, "around_python": called_python - alone}


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    measured("benchmarks.speed.gate_call", __doc__, RESULT, measure)
