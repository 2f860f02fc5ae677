"""A little fuzzing in every run, the same each time; ``python -m tests.fuzz`` does much of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attnzoo
from tests.fuzz import commands, layers
from tests.fuzz.readers import READERS

CI = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", attnzoo.list_layers())
@given(data=st.data())
@settings(CI, max_examples=60)
def test_layers(data: st.DataObject, name: str):
    layers.call(data, name)


@pytest.mark.parametrize(("program", "name"), list(commands.COMMANDS), ids=lambda word: word)
def test_commands(tmp_path: Path, program: str, name: str):
    known = commands.paths(tmp_path)

    @given(data=st.data())
    @settings(CI, max_examples=8)
    def run(data: st.DataObject):
        commands.call(data, program, name, tmp_path, known)

    run()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch about odd files
@pytest.mark.parametrize("name", READERS)
def test_files(tmp_path: Path, name: str):
    paths = READERS[name].make(tmp_path)
    messages = [READERS[name](tmp_path, paths, seed) for seed in range(25)]
    assert any(messages), "nothing that was made wrong was found wrong"
