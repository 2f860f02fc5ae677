"""Every quick cell of the capability table, and the table that is published.

A capability that a subject has not stands in its ``exceptions`` with the reason, and must really be missing. What is
slow (graphs of whole models, inductor) is tried by ``python -m tests.capabilities``, which writes what is
published.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.capabilities import eager, graphs, parallel, saving, shapes  # noqa: F401 - they fill the table
from tests.capabilities.subjects import subjects
from tests.capabilities.table import CAPABILITIES

SUBJECTS = subjects()
PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "results" / "capabilities.json"
TRIED_ELSEWHERE = {"compile fullgraph", "torch.export", "ONNX + onnxruntime"}  # on every layer, by other tests


def cells() -> list:
    found = []
    for capability in CAPABILITIES.values():
        for subject in SUBJECTS.values():
            skipped = capability.slow and (capability.name in TRIED_ELSEWHERE or subject.group != "layer")
            if not skipped:
                why = subject.exceptions.get(capability.name)
                marks = [pytest.mark.xfail(strict=True, reason=why)] if why else []
                found.append(pytest.param(capability, subject, id=f"{capability.name}-{subject.name}", marks=marks))
    return found


@pytest.mark.parametrize(("capability", "subject"), cells())
def test_cell(capability, subject):
    capability.check(subject)


@pytest.mark.slow
def test_ddp_and_fsdp2_in_two_processes():
    for way, outcomes in parallel.outcomes(list(SUBJECTS)).items():
        assert set(outcomes) == set(SUBJECTS)
        for name, error in outcomes.items():
            assert bool(error) == (way in SUBJECTS[name].exceptions), (way, name, error)


def test_the_published_table_is_whole_passes_at_95_percent_and_says_why_of_the_rest():
    rows = json.loads(PUBLISHED.read_text())["rows"]
    expected = {(capability, subject) for capability in (*CAPABILITIES, *parallel.WAYS) for subject in SUBJECTS}
    assert {(row["capability"], row["subject"]) for row in rows} == expected
    passed = [row for row in rows if row["outcome"] == "passes"]
    assert len(passed) >= 0.95 * len(rows)
    for row in rows:
        if row["outcome"] != "passes":
            assert row["outcome"] == "by design", row
            assert len(row["reason"]) > 30, row
