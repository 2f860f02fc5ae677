"""Ctrl-C and SIGTERM end every long command with the code that shells expect, and it says what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reference_models.interrupts import Interrupted, interruptible, keeping
from tests.reference_models.astronaut import photograph

PROGRAM = str(Path(sys.executable).with_name("reference-models"))
TRAINING = ("--accelerator=cpu", "--identities=9", "--frames=3", "--unseen=0", "--size=32", "--set", "batch_size=4")
ENDS = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted")}


def handles(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Tell whether a process has installed a handler of a signal, as Linux says."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (caught,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(caught >> (number - 1) & 1)


def ended(command: list[str], number: signal.Signals, ready: Callable[[], bool] | None) -> str:
    """Start a command, send it a signal, and return what it says on the error stream.

    The signal is sent once the command is at work, or, without ``ready``, as soon as it handles the signal.
    """
    with subprocess.Popen([PROGRAM, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (handles(process, number) if ready is None else ready()):
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    code, word = ENDS[number]
    assert process.returncode == code, said
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if line.startswith("reference-models: ")]
    assert sentence.startswith(f"reference-models: {word}; ")
    return sentence.partition("; ")[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDS)
def test_train_says_that_its_last_whole_epoch_is_kept(tmp_path: Path, number: signal.Signals):
    out = tmp_path / "run"
    command = ["train", "lla-net", "-o", str(out), *TRAINING, "--set", "epochs=500"]
    said = ended(command, number, (out / "last.safetensors").exists)
    assert (
        said == f"the state of the last complete epoch is {out}/last.safetensors, and the same command resumes from it"
    )
    assert not (out / "model.safetensors").exists()
    assert sorted(path.name for path in out.iterdir()) == [
        "best.safetensors", "last.safetensors", "logs", "run.json", "tensorboard"
    ]  # fmt: skip


@pytest.mark.parametrize("number", ENDS)
def test_synth_resumes(tmp_path: Path, number: signal.Signals):
    out = tmp_path / "faces"
    command = ["synth", "-o", str(out), "--identities", "300", "--size", "48", "--workers", "1"]
    said = ended(command, number, (out / "Images").exists)
    assert said == "the pictures that were written are kept, and the same command resumes"


@pytest.mark.parametrize("number", ENDS)
def test_prepare_resumes(tmp_path: Path, number: signal.Signals):
    (tmp_path / "photographs").mkdir()
    Image.fromarray(photograph()).save(tmp_path / "photographs/0.png")
    for name in range(1, 200):
        os.link(tmp_path / "photographs/0.png", tmp_path / f"photographs/{name}.png")
    out = tmp_path / "out"
    command = ["prepare", str(tmp_path / "photographs"), "-o", str(out), "--workers", "2"]
    said = ended(command, number, (out / "faces").exists)
    assert said == "what is done is kept, and the same command resumes"


@pytest.mark.slow
def test_claims_resume(tmp_path: Path):
    command = ["claims", "--budget", "smoke", "--only", "lla-net", "-o", str(tmp_path)]
    said = ended(command, signal.SIGTERM, (tmp_path / "scratch").exists)
    assert said == "finished runs are kept, and the same command resumes"


@pytest.mark.parametrize("number", ENDS)
def test_compiled_code_does_not_hide_it(number: signal.Signals):
    """Numba makes a SystemError of what is raised while it unpickles, as CPython does of any result with an error."""

    def unpickle() -> None:
        try:
            signal.raise_signal(number)
        except Interrupted as interrupted:
            raise SystemError("a result with an exception set") from interrupted

    with pytest.raises(Interrupted, match="the half is kept") as raised, interruptible(), keeping("the half is kept"):
        unpickle()
    assert raised.value.exit_code == ENDS[number][0]


def test_other_errors_stay_themselves():
    def fail() -> None:
        try:
            raise ValueError
        except ValueError as error:
            raise SystemError("of its own") from error

    with pytest.raises(SystemError, match="of its own"), interruptible(), keeping("nothing"):
        fail()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is Linux that says which signals are handled")
def test_a_command_that_keeps_nothing_says_so(tmp_path: Path):
    command = ["ledger", "--json", str(tmp_path / "ledger.json")]
    assert ended(command, signal.SIGTERM, None) == "nothing was written"
    assert not (tmp_path / "ledger.json").exists()
