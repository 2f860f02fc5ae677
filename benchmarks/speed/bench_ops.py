"""CBAM and SE by attnzoo, by timm, by timm compiled and by torchvision, as pytest-benchmark shows them.

    pytest --benchmark-only                        all of it, in about two minutes on two cores
    pytest --benchmark-only -k 'cbam and bfloat16 and not compiled'

A table for each layer, map, dtype and mode, a row for each implementation; in brackets stands how many times slower a
row is than the best. Layers are called in eager mode as users call them; ``training`` is a forward and a backward pass.
What is published comes from ``measure_ops.py``, where the candidates take turns.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from benchmarks.speed.ops_cases import LAYERS, Case, runner

SHAPES = ((1, 256, 56, 56), (8, 64, 56, 56), (8, 512, 28, 28), (8, 2048, 7, 7))
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
MODES = {"forward": "inference", "training": "training"}
PROVIDERS = {"attnzoo": "attnzoo auto", "timm": "timm", "timm compiled": "timm compiled", "torchvision": "torchvision"}
"""What a row is called, and what :data:`benchmarks.speed.ops_cases.PROVIDERS` calls it."""


def group(case: Case) -> str:
    """Return the title of a case's table."""
    return f"{case.layer} {'x'.join(map(str, case.shape))} {DTYPES[case.dtype]} {MODES[case.mode]}"


ROWS = [
    pytest.param(case, provider, id=f"{group(case)}: {provider}")
    for layer, shape, dtype, mode in itertools.product(("cbam", "se"), SHAPES, DTYPES, MODES)
    for case in [Case(layer, shape, dtype, "NCHW", mode)]
    for provider in PROVIDERS
    if provider.split()[0] in LAYERS[layer]
]


@pytest.mark.parametrize(("case", "provider"), ROWS)
def test_operation(benchmark: Any, case: Case, provider: str):
    torch.compiler.reset()  # or dynamo refuses the ninth layer of a class
    torch.manual_seed(0)
    call = runner(case, PROVIDERS[provider], case.map(), case.map())
    call()
    benchmark.group, benchmark.name = group(case), f"{group(case)}: {provider}"
    benchmark(call)
