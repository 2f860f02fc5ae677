"""CBAM and SE by every implementation, one test each.

    pytest --benchmark-only --benchmark-group-by=param:case [-k 'cbam and not compiled']

What is published comes from ``measure_ops.py``, which interleaves the candidates.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.ops_cases import CASES, PROVIDERS, Case, runner


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.words()))
def test_operation(benchmark: Any, case: Case, provider: str):
    torch.manual_seed(0)
    call = runner(case, provider, case.map(), case.map())
    if call is None:
        pytest.skip(f"{provider} has no {case.layer}")
    call()
    benchmark(call)
