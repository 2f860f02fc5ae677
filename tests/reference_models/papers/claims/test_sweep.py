"""A sweep for real: killed and gone on with, shared with others, and its table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.papers.claims.budget import BUDGETS
from reference_models.papers.claims.conditions import run_conditions
from reference_models.papers.claims.registry import CLAIMS, chosen
from reference_models.papers.claims.report import claim_row, collected
from reference_models.papers.claims.runs import RUNS
from reference_models.papers.claims.sweep import LOCKS, Work, runs_for, sweep

ONLY = ["--budget", "smoke", "--only", "lla-net/beats-plain"]


def finished(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / RUNS).glob("*.json"))}


def work(folder: Path) -> Work:
    runs = runs_for(chosen(["lla-net/beats-plain"]), BUDGETS["smoke"], baselines=False)
    return Work(runs=runs, folder=folder, conditions=run_conditions(1), weights=None, threads=1)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep of two processes was killed when its first run had ended."""
    folder = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, "-c", "from reference_models.cli.app import main; main()", "claims", *ONLY]
    process = subprocess.Popen([*command, "-o", str(folder), "--processes", "2"], start_new_session=True)
    began = time.monotonic()
    while not finished(folder) and process.poll() is None and time.monotonic() - began < 240:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with suppress(ProcessLookupError):
        while True:  # its children, who are nobody's now, hold locks until they are gone
            os.killpg(process.pid, 0)
            time.sleep(0.02)
    assert finished(folder)
    return folder


def test_killed_it_goes_on_and_makes_nothing_twice(killed: Path):
    before = finished(killed)
    events: list[tuple[str, str]] = []
    sweep(work(killed), processes=1, on_event=lambda *event: events.append(event))
    after = finished(killed)
    assert len(after) == 2
    assert {name: after[name] for name in before} == before
    assert len([event for event, _ in events if event == "began"]) == 2 - len(before)
    sweep(work(killed), processes=1, on_event=lambda *event: pytest.fail(f"made again: {event}"))
    results = [json.loads(text) for text in after.values()]
    assert len({result["pixels"] for result in results}) == 1
    assert len({result["configuration"]["data"] for result in results}) == 1
    for result in results:
        assert set(result["scores"]) >= {"challenge_score", "train/loss"}
        assert [set(epoch) >= {"train/loss", "val/loss", "val/f1"} for epoch in result["curve"]] == [True]


def test_what_others_are_making_is_left_to_them(killed: Path, tmp_path: Path):
    sweep(work(killed), processes=1, on_event=lambda *_: None)
    mine = work(tmp_path)
    for folder in (LOCKS, RUNS):
        (tmp_path / folder).mkdir()
    locks = [FileLock(tmp_path / LOCKS / f"{run.path(tmp_path).stem}.lock", thread_local=False) for run in mine.runs]
    for lock in locks:
        lock.acquire()

    def others_end() -> None:
        for run, lock in zip(mine.runs, locks, strict=True):
            run.path(tmp_path).write_bytes(run.path(killed).read_bytes())
            lock.release()

    timer = threading.Timer(1.5, others_end)
    timer.start()
    sweep(mine, processes=1, on_event=lambda *event: pytest.fail(f"made: {event}"))
    timer.join()
    assert finished(tmp_path) == finished(killed)


def test_the_table_is_collected_without_training(killed: Path):
    sweep(work(killed), processes=1, on_event=lambda *_: None)
    collect = CliRunner().invoke(app, ["claims", *ONLY, "-o", str(killed), "--collect"])
    assert collect.exit_code == 0, collect.output
    record = json.loads((killed / "claims-smoke.json").read_text())
    (row,) = record["rows"]
    assert (row["verdict"], row["n"]) == ("undecided", 1)
    values = {r["variant"]: r["scores"]["challenge_score"] for r in map(json.loads, finished(killed).values())}
    assert row["difference"]["mean"] == pytest.approx(values["lla-net-llam"] - values["lla-net-plain"])
    assert {line["name"] for line in record["scores"]} == {"lla-net-llam", "lla-net-plain"}
    assert "LLAM, which reduces nothing, beats the plain ResNet-18" in (killed / "claims-smoke.md").read_text()


def test_a_damaged_result_is_named(killed: Path, tmp_path: Path):
    sweep(work(killed), processes=1, on_event=lambda *_: None)
    runs = work(killed).runs
    path = runs[0].path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(runs[0].path(killed).read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: .*; remove it, and its run is made again"):
        collected(runs, tmp_path)
    path.write_bytes(runs[1].path(killed).read_bytes())
    with pytest.raises(ValueError, match=r"is no result of ResNet-18 with LLAM, replicate 1"):
        collected(runs, tmp_path)


def test_pairs_are_those_of_one_replicate_and_less_may_be_better():
    def made(losses: dict[int, float]) -> list[dict[str, object]]:
        return [
            {"replicate": number, "scores": {"train/loss": value}, "conditions": {"commit": f"c{number}"}}
            for number, value in losses.items()
        ]

    failed = {"replicate": 4, "scores": {}, "failed": "NaN", "conditions": {"commit": "c4"}}
    results = {
        "tra-net-residual": made({0: 1.0, 1: 1.1, 2: 1.2, 4: 0.1}),
        "tra-net-full": [*made({0: 1.5, 1: 1.7, 2: 1.6}), failed],
    }
    row = claim_row(CLAIMS["tra-net/faster"], results, BUDGETS["small"])
    assert row["difference"]["mean"] == pytest.approx(0.5)  # 0.5, 0.6, 0.4
    assert (row["n"], row["failed"], row["verdict"]) == (3, 1, "holds")
    assert row["first"]["mean"] == pytest.approx(1.1)
    assert row["commits"] == ["c0", "c1", "c2", "c4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "cednn/mop"], "no claim is named 'cednn/mop'"),
        (["--budget", "huge"], "budget must be one of 'smoke', 'small', 'full', got 'huge'"),
        (["--weights", "nowhere.pth"], "--weights must name a file, got nowhere.pth"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments: list[str], message: str, tmp_path: Path):
    said = CliRunner().invoke(app, ["claims", *arguments, "-o", str(tmp_path / "out")])
    assert said.exit_code == 2
    assert message in said.output
    assert not (tmp_path / "out").exists()
