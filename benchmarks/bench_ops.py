"""CBAM and SE by every implementation, one test each.

    pytest benchmarks/bench_ops.py -o addopts= --benchmark-only --benchmark-group-by=param:case

What is published comes from ``measure_ops.py``, which interleaves the candidates.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.ops_cases import DTYPES, LAYERS, LAYOUTS, MODES, PROVIDERS, SHAPES, Case, runner

CASES = [
    Case(layer, shape, dtype, layout, mode)
    for layer in LAYERS
    for shape in SHAPES
    for dtype in DTYPES
    for layout in LAYOUTS
    for mode in MODES
]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{c.layer}-{'x'.join(map(str, c.shape))}-{c.dtype}-{c.layout}-{c.mode}"
)
def test_operation(benchmark: Any, case: Case, provider: str):
    torch.manual_seed(0)
    call = runner(case, provider, case.map(), case.map())
    if call is None:
        pytest.skip(f"{provider} has no {case.layer}")
    call()
    benchmark(call)
