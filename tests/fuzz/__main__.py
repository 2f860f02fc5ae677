"""Call layers and commands with arguments of every kind, read damaged files, and write results/fuzz.json.

    python -m tests.fuzz [--calls 10000] [--files 2000] [--seed 0] [--output FILE]

Each target (a layer, a command, a reader) has a process of its own with 8 GiB of memory: what crashes or hangs is found
like an exception that is not documented. The calls are shared out over layers and commands, the files over readers.
Exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import attnzoo
from benchmarks.speed.interleaved import ROOT, circumstances, write
from tests.fuzz import commands, layers
from tests.fuzz.readers import READERS

RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
MEMORY = 8 * 1024**3
_FORK = multiprocessing.get_context("fork")
LAYERS_SHARE = 0.9
"""Of the calls; a command costs far more than a layer."""
Target = Callable[[int, int, Path, Connection], None]


def main() -> int:
    """Try all targets and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="a target that takes longer hangs")
    parser.add_argument("--only", default="", help="only targets whose kind and name hold this; other rows stay")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = circumstances("tests.fuzz", 1)
    known = json.loads(arguments.output.read_text())["rows"] if arguments.output.exists() else []
    rows = {(row["kind"], row["target"]): row for row in known}
    for (kind, name, target), count in targets(arguments.calls, arguments.files):
        if arguments.only in f"{kind} {name}":
            start = time.monotonic()
            done, found = tried(target, count, arguments.seed, arguments.seconds)
            rows[kind, name] = {"kind": kind, "target": name, "tried": done, "found": found}
            print(kind, name, done, f"{time.monotonic() - start:.0f} s", found or "nothing", sep=" | ", flush=True)
    write(arguments.output, about, list(rows.values()))
    return int(any(row["found"] for row in rows.values()))


def targets(calls: int, files: int) -> list[tuple[tuple[str, str, Target], int]]:
    """Return kind, name and function of every target, and how often it is tried."""
    names = attnzoo.list_layers()
    called = [("layer", name, _layer(name)) for name in names]
    run = [("command", " ".join(key), _command(*key)) for key in commands.COMMANDS]
    read = [("reader", name, _reader(name)) for name in READERS]
    shares = ((called, calls * LAYERS_SHARE), (run, calls * (1 - LAYERS_SHARE)), (read, files))
    return [(each, -int(-share // len(group))) for group, share in shares for each in group]


def tried(target: Target, count: int, seed_: int, seconds: float) -> tuple[int, str]:
    """Return how often a target was tried in a process of its own, and what was found, empty if nothing."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_process, args=(target, count, seed_, sender))
    process.start()
    sender.close()
    done, found, end = 0, "", time.monotonic() + seconds
    try:
        while True:
            if not receiver.poll(max(0.0, end - time.monotonic())):
                return done, f"hangs: no end after {seconds:g} s"
            what, value = receiver.recv()
            if what == "tried":
                done = value
            elif what == "found":
                found = value
            else:
                return done, found
    except EOFError:
        process.join()
        return done, f"crashes: the process ended with {process.exitcode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def _process(target: Target, count: int, seed_: int, sender: Connection) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target(count, seed_, Path(folder), sender)
        except BaseException as error:  # noqa: BLE001 - whatever is not documented is what was looked for
            sender.send(("found", _told(error)))
    sender.send(("end", None))


def _told(error: BaseException) -> str:
    place = traceback.extract_tb((error.__cause__ or error).__traceback__)[-1]
    notes = " ".join(getattr(error, "__notes__", ()))
    return f"{error!r} at {place.filename}:{place.lineno} {notes}"[:2000]


def _drawn(call: Callable[[Any], int], count: int, seed_: int, sender: Connection) -> None:
    """Call with what hypothesis draws, until there were ``count`` calls or more."""
    done = 0
    while done < count:
        before = done

        @seed(seed_ + done)
        @settings(max_examples=count - done, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(data=st.data())
        def run(data: Any) -> None:
            nonlocal done
            done += call(data)
            if done % 20 == 0:
                sender.send(("tried", done))

        run()
        sender.send(("tried", done))
        if done == before:
            return


def _layer(name: str) -> Target:
    return lambda count, seed_, _, sender: _drawn(lambda data: layers.call(data, name), count, seed_, sender)


def _command(program: str, name: str) -> Target:
    def target(count: int, seed_: int, folder: Path, sender: Connection) -> None:
        known = commands.paths(folder)
        _drawn(lambda data: commands.call(data, program, name, folder, known), count, seed_, sender)

    return target


def _reader(name: str) -> Target:
    def target(count: int, seed_: int, folder: Path, sender: Connection) -> None:
        paths = READERS[name].make(folder)
        for number in range(count):
            try:
                READERS[name](folder, paths, seed_ * 1_000_003 + number)
            except Exception as error:
                error.add_note(f"(file {seed_ * 1_000_003 + number})")
                raise
            sender.send(("tried", number + 1))

    return target


if __name__ == "__main__":
    sys.exit(main())
