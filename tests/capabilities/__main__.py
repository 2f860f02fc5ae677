"""Try every cell of the capability table, each in a process of its own, and write results/capabilities.json.

    python -m tests.capabilities [--only TEXT] [--subject TEXT] [--seconds 300] [--output FILE]

What crashes a process, or hangs, is the outcome of its cell and of no other. Layers are compiled by inductor, whole
models by aot_eager. Exit code 1 if a cell fails that is not an exception which its subject declares.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.speed.interleaved import ROOT, circumstances, write
from tests.capabilities import eager, graphs, parallel, saving, shapes  # noqa: F401 - they fill the table
from tests.capabilities.subjects import Subject, subjects
from tests.capabilities.table import CAPABILITIES, Capability, reason

RESULT = ROOT / "benchmarks" / "results" / "capabilities.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "safetensors")
_FORK = multiprocessing.get_context("fork")  # torch and timm are loaded once, for all cells


def main() -> int:
    """Try the cells and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only capabilities whose name holds this; other rows stay")
    parser.add_argument("--subject", default="", help="only subjects whose name holds this; other rows stay")
    parser.add_argument("--seconds", type=float, default=300, help="a cell that takes longer hangs")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import onnxscript  # noqa: F401 - once, not in each process
    from torch._inductor import compile_fx  # noqa: F401

    about = circumstances("tests.capabilities", 1)
    about["versions"] |= {name: metadata.version(name) for name in PACKAGES}
    known = json.loads(arguments.output.read_text())["rows"] if arguments.output.exists() else []
    rows = {(row["capability"], row["subject"]): row for row in known}
    for name, tried in _cells().items():
        for subject in subjects().values():
            if arguments.only not in name or arguments.subject not in subject.name:
                continue
            start = time.monotonic()
            error = outcome(lambda tried=tried, subject=subject: tried(subject), arguments.seconds)
            row = {"capability": name, "subject": subject.name, "group": subject.group, **judged(subject, name, error)}
            rows[name, subject.name] = row
            print(*row.values(), f"{time.monotonic() - start:.1f} s", sep=" | ", flush=True)
    cells = [rows[name, subject] for name in _cells() for subject in subjects() if (name, subject) in rows]
    write(arguments.output, about, cells)
    return int(any(row["outcome"] == "fails" for row in cells))


def judged(subject: Subject, capability: str, error: str) -> dict[str, str]:
    """Return the outcome of a cell, and the reason where it does not pass."""
    declared = subject.exceptions.get(capability)
    if not error:
        why = f"passes, but is declared as an exception: {declared}" if declared else ""
        return {"outcome": "fails" if declared else "passes", "reason": why}
    return {"outcome": "by design" if declared else "fails", "reason": f"{declared} ({error})" if declared else error}


def outcome(call: Callable[[], None], seconds: float) -> str:
    """Return why a call fails in a process of its own, empty if it does not."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_call, args=(call, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(seconds) else f"hangs: no end after {seconds:g} s"
    except EOFError:
        process.join()
        return f"crashes: the process ended with {process.exitcode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what the cell has started ends with it
        process.join()


def _call(call: Callable[[], None], sender: Connection) -> None:
    os.setsid()
    torch.manual_seed(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome of the cell
            sender.send(reason(error))
        else:
            sender.send("")


def _cells() -> dict[str, Callable[[Subject], None]]:
    """Return what is done for each row of the table."""

    def compiled(capability: Capability) -> Callable[[Subject], None]:
        return lambda s: capability.check(s, backend="inductor" if s.group == "layer" else "aot_eager")

    def in_processes(way: str) -> Callable[[Subject], None]:
        def check(subject: Subject) -> None:
            error = parallel.outcomes([subject.name], start_method="fork")[way][subject.name]
            if error:
                raise RuntimeError(error)

        return check

    cells = {name: compiled(each) if each.compiles else each.check for name, each in CAPABILITIES.items()}
    return {**cells, **{way: in_processes(way) for way in parallel.WAYS}}


if __name__ == "__main__":
    sys.exit(main())
