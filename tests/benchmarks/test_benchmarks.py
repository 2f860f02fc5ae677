"""The benchmarks run, by the commands that the documentation gives."""

from __future__ import annotations

import importlib
import json
import mmap
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import goals
from benchmarks.speed import environments, runtimes
from benchmarks.speed.added_time import Pass, in_turns, one_pass, summary

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    # a worker of pytest-xdist says so in its environment, and pytest-benchmark believes it
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    outside["COLUMNS"] = "160"  # of a table whose words are looked for
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "benchmarks").rglob("*.py") if path.name != "__main__.py")


@pytest.mark.parametrize("name", [".".join(path.with_suffix("").parts) for path in FILES])
def test_what_a_benchmark_imports_is_there(name: str):
    importlib.import_module(name)


RECOMPILED_ONCE = (
    "import sys, pytest, torch; torch._dynamo.config.recompile_limit = 1; sys.exit(pytest.main(sys.argv[1:]))"
)


def test_benchmark_only_shows_a_table_for_each_map_also_past_dynamos_limit():
    """The limit stops the ninth compiled layer of a class; here it stops the second, if nothing is reset."""
    chosen = ("-k", "se and 8x2048x7x7 and float32", "--benchmark-max-time=0.01")
    output = run("-c", RECOMPILED_ONCE, "--benchmark-only", *chosen)
    assert "8 passed" in output
    assert "bench_ops.py" in output
    assert "benchmarks: environment " in output
    for mode in ("inference", "training"):
        assert f"benchmark 'se 8x2048x7x7 float32 {mode}': 4 tests" in output
        for provider in ("attnzoo", "timm", "timm compiled", "torchvision"):
            assert re.search(rf"^se 8x2048x7x7 float32 {mode}: {provider} +[\d,.]+ \([\d,.]+\) ", output, re.MULTILINE)


def test_benchmark_only_runs_all_of_them_if_nothing_is_chosen():
    named = run("-m", "pytest", "--benchmark-only", "--collect-only", "-q").splitlines()
    shown = [line.partition("[")[2].rstrip("]") for line in named if line.startswith("benchmarks/speed/bench_ops.py::")]
    assert len(shown) == len(set(shown)) > 100
    assert {name.split()[0] for name in shown} == {"cbam", "se"}
    assert {name.split()[1] for name in shown} > {"1x256x56x56", "8x64x56x56"}


def test_an_environment_holds_its_own_variables_and_no_others_of_their_kind(monkeypatch: pytest.MonkeyPatch):
    for name in ("MALLOC_ARENA_MAX", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("UNRELATED", "3")
    assert environments.name() == "neither"
    assert list(environments.ENVIRONMENTS) == ["plain", "tuned"]
    for name, expected in environments.ENVIRONMENTS.items():
        made = environments.environ(name)
        assert environments.variables(made) == expected
        assert made["UNRELATED"] == "3"
        program = "from benchmarks.speed import environments as e; print(e.name(), e.variables())"
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=ROOT, env=made, capture_output=True, text=True, check=True)
        assert done.stdout == f"{name} {dict(sorted(expected.items()))}\n"


def test_what_is_added_is_told_round_by_round():
    times = {"bare": (10, 20, 30), "attnzoo": (11, 22, 31), "timm": (14, 24, 33)}
    passes = {name: [Pass(time, 7) for time in each] for name, each in times.items()}
    found = summary(passes, {"attnzoo": "timm"})
    assert {name: each["added_ms"] for name, each in found.items()} == {"bare": 0, "attnzoo": 1, "timm": 4}
    assert found["attnzoo"]["of_timm"] == 0.25
    assert found["attnzoo"]["over_timm"] == round(22 / 24, 3)
    assert found["timm"]["of_timm"] is found["bare"]["over_timm"] is None
    assert found["bare"]["median_ms"] == 20
    assert found["bare"]["page_faults"] == 7


def test_a_network_alone_has_nothing_to_be_compared_with():
    found = summary({"attnzoo": [Pass(time, 7) for time in (11, 22, 31)]}, {"attnzoo": "timm"})["attnzoo"]
    assert (found["median_ms"], found["page_faults"]) == (22, 7)
    assert found["added_ms"] is found["of_timm"] is found["over_timm"] is None


def test_turns_are_taken_once_a_round_by_each():
    taken: list[str] = []
    passes = in_turns({name: lambda name=name: one_pass(lambda: taken.append(name)) for name in "abc"}, 5)
    assert {name: len(each) for name, each in passes.items()} == {"a": 5, "b": 5, "c": 5}
    rounds = [taken[i : i + 3] for i in range(0, len(taken), 3)]
    assert len(rounds) == 5
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_a_pass_counts_the_pages_that_it_takes_anew():
    size = 1 << 24

    def touch() -> None:
        with mmap.mmap(-1, size) as memory:  # the heap may have memory left, this is always new
            for at in range(0, size, mmap.PAGESIZE):
                memory[at] = 1

    found = one_pass(touch)
    assert found.page_faults >= size / resource.getpagesize() / 512  # pages may be large ones
    assert found.milliseconds > 0


def test_goals_of_resnet50_depend_on_environment_layer_and_batch():
    rows = [
        {"environment": environment, "mode": "inference", "batch": batch, "network": network, "of_timm": 0.45}
        for environment in ("plain", "tuned")
        for batch in (1, 2)
        for network in ("bare", "attnzoo cbam", "attnzoo paper cbam", "attnzoo se", "timm se")
    ]
    found = {verdict.name: (verdict.goal, verdict.held) for verdict in goals.resnet50(rows)}
    assert found == {
        f"{layer} on ResNet-50, {environment} environment, inference, batch {batch}: added time over timm's": expected
        for layer, environment, batch, expected in (
            ("CBAM", "plain", 1, ("<= 0.5", True)),
            ("CBAM", "plain", 2, ("<= 0.4", False)),
            ("CBAM", "tuned", 1, ("<= 0.5", True)),
            ("CBAM", "tuned", 2, ("<= 0.333", False)),
            ("SE", "plain", 1, ("<= 1", True)),
            ("SE", "plain", 2, ("<= 0.5", True)),
            ("SE", "tuned", 1, ("<= 1", True)),
            ("SE", "tuned", 2, ("<= 0.5", True)),
        )
    }


def test_runtimes_that_are_absent_are_named_with_how_to_get_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtimes, "PACKAGES", ("torch", "no_such_runtime", "nor_this"))
    said = re.escape('not installed: no_such_runtime, nor_this; get them with: pip install "attnzoo[bench]"')
    with pytest.raises(SystemExit, match=said):
        runtimes.require()


@pytest.mark.slow
def test_resnet50_is_measured_in_the_environment_that_is_named(tmp_path: Path):
    path = tmp_path / "resnet50.json"
    chosen = ("--rounds", "2", "--only", "tuned inference 1", "--output", str(path))
    assert "written: " in run("-m", "benchmarks.speed.resnet50", *chosen)
    result = json.loads(path.read_text())
    assert result["machine"]["variables"] == environments.ENVIRONMENTS
    assert {(row["environment"], row["mode"], row["batch"]) for row in result["rows"]} == {("tuned", "inference", 1)}
    found = {row["network"]: row for row in result["rows"]}
    whose = ("attnzoo", "attnzoo paper", "timm")
    assert set(found) == {"bare"} | {f"{who} {layer}" for who in whose for layer in ("cbam", "se")}
    assert found["bare"]["added_ms"] == 0
    assert all(row["median_ms"] > 0 for row in result["rows"])


def test_a_measurement_writes_as_it_goes_and_goes_on_where_it_stopped(tmp_path: Path):
    path = tmp_path / "ops.json"
    command = ("-m", "benchmarks.speed.ops", "--no-tests", "--rounds", "3", "--quick", "--output", str(path))
    output = run(*command, "--only", "se fp32 NCHW")
    assert "se training fp32 over timm" in output
    result = json.loads(path.read_text())
    assert (result["machine"]["environment"], result["machine"]["variables"]) == (
        "tuned",
        environments.variables(environments.environ("tuned")),
    )
    first = result["rows"]
    assert {(row["layer"], row["shape"][0]) for row in first} == {
        (se, n) for se in ("se", "se attached") for n in (1, 8)
    }
    assert {row["mode"] for row in first} == {"forward", "training"}
    assert all(row["peak_maps"] > 0.9 for row in first if row["provider"] != "copy")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": first[:5]}))  # as if stopped behind the forward
    run(*command, "--only", "se fp32 NCHW", "--resume")
    again = json.loads(path.read_text())["rows"]
    assert again[:5] == first[:5]
    assert [row["provider"] for row in again] == [row["provider"] for row in first]
