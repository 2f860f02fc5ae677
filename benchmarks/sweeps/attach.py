"""Attach to the smallest model of every family and check what attach promises.

    python -m benchmarks.sweeps.attach            # all that is not in the cache yet, two models at a time
    python -m benchmarks.sweeps.attach --only timm/resnet torchvision/regnet
    python -m benchmarks.sweeps.attach --pin      # write the site lists that the tests hold to
    python -m benchmarks.sweeps.attach --choose   # which models: again, after an upgrade of timm

Each model runs in a process of its own with one thread. A finished model is one JSON line in the cache, so that the
sweep can be stopped and goes on where it was; the cache counts only for the commit and the versions it was made with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT
from benchmarks.sweeps import attach_model

PINS = ROOT / "tests" / "attach" / "sites"
MODELS = Path(__file__).with_name("attach_models.json")
RESULT = RESULTS / "attach-sweep.json"
CACHE = ROOT / "benchmarks" / ".cache" / "attach-sweep.jsonl"
WHERES = ("stage", "block")
CHECKS = ("identical", "keys", "plain_checkpoint", "differs", "gradients", "detached")


def main() -> None:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="FAMILY", help="e.g. timm/resnet")
    parser.add_argument("--jobs", type=int, default=2, help="models at a time")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--fresh", action="store_true", help="forget the cache")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--pin", action="store_true", help="write the site lists instead of comparing with them")
    parser.add_argument("--choose", action="store_true", help="choose the smallest model of each family anew")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds a model")
    args = parser.parse_args()
    if args.choose:
        _write(MODELS, attach_model.choose())
    models = json.loads(MODELS.read_text())
    _require_all_families(models)
    wanted = args.only or list(models)
    if unknown := sorted(set(wanted) - set(models)):
        parser.error(f"unknown families {unknown}; known are {', '.join(models)}")
    if args.fresh:
        args.cache.unlink(missing_ok=True)
    conditions = _conditions()
    done = _cached(args.cache, conditions)
    lines = _run(models, [family for family in wanted if family not in done], args, conditions)
    lines |= done
    lines = {family: lines[family] for family in wanted}
    if args.pin:
        _pin(lines)
    for family, line in lines.items():
        line["pinned"] = _as_pinned(family, line)
    _report(lines)
    if not args.only:
        _write(args.output, _result(lines, conditions))


def _run(
    models: dict[str, Any], families: list[str], args: argparse.Namespace, conditions: dict[str, Any]
) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    lines: dict[str, Any] = {}
    lock = threading.Lock()
    args.cache.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    multiprocessing.set_forkserver_preload(["benchmarks.sweeps.attach_model", "timm", "torchvision"])
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, ThreadPoolExecutor(args.jobs) as pool:
        task = progress.add_task("", total=len(families))

        def one(family: str) -> None:
            line = _child(family, models[family], args.timeout)
            with lock, args.cache.open("a") as cache:
                cache.write(json.dumps({"conditions": conditions, **line}) + "\n")
                lines[family] = line
                progress.update(task, advance=1, description=family)

        list(pool.map(one, families))
    return lines


def _child(family: str, model: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Run one model in a process of its own, forked from one that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=attach_model.send, args=(sender, family, model["model"], model["options"]))
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            return {"family": family, **model, "error": f"took more than {timeout:.0f} s"}
        return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        return {"family": family, **model, "error": f"its process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _require_all_families(models: dict[str, Any]) -> None:
    import timm

    here = {f"timm/{module}" for module in timm.models.list_modules()}
    listed = {family for family in models if family.startswith("timm/")}
    if here != listed:
        raise SystemExit(
            f"timm {timm.__version__} and {MODELS.name} differ: {sorted(here ^ listed)}; run with --choose"
        )


def _conditions() -> dict[str, Any]:
    import timm
    import torch
    import torchvision

    return {
        "tree": _git("rev-parse", "HEAD:attnzoo"),  # all of it: what an operation returns, the backbone goes on with
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "attnzoo")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "torchvision": torchvision.__version__,
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def _cached(cache: Path, conditions: dict[str, Any]) -> dict[str, Any]:
    if not cache.exists():
        return {}
    known = [json.loads(line) for line in cache.read_text().splitlines()]
    same = {key: value for key, value in conditions.items() if key not in {"commit", "uncommitted_changes"}}
    done = {}
    for line in known:
        made_with = line.pop("conditions")
        if "error" not in line and all(made_with.get(key) == value for key, value in same.items()):
            done[line["family"]] = line
    return done


def _pin_path(family: str) -> Path:
    return PINS / f"{family.replace('/', '-')}.json"


def _pinned_part(line: dict[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("family", "model", "options", "image", "sites", "wide_sites")}


def _pin(lines: dict[str, Any]) -> None:
    for family, line in lines.items():
        if "sites" in line:
            _write(_pin_path(family), _pinned_part(line))


def _as_pinned(family: str, line: dict[str, Any]) -> bool:
    path = _pin_path(family)
    return "sites" in line and path.exists() and json.loads(path.read_text()) == _pinned_part(line)


def _passed(line: dict[str, Any], where: str) -> bool:
    result = line.get("results", {}).get(where, {})
    return bool(result) and all(all(layer.get(check) for check in CHECKS) for layer in result.values())


def _result(lines: dict[str, Any], conditions: dict[str, Any]) -> dict[str, Any]:
    summary = {}
    for library in ("timm", "torchvision"):
        mine = {family: line for family, line in lines.items() if family.startswith(library + "/")}
        summary[library] = {
            "families": len(mine),
            "pinned": sum(line["pinned"] for line in mine.values()),
            **{where: sum(_passed(line, where) for line in mine.values()) for where in WHERES},
            **{f"{where}_failed": [f for f, line in mine.items() if not _passed(line, where)] for where in WHERES},
        }
    rows = [
        {key: value for key, value in line.items() if key not in {"sites", "wide_sites"}} for line in lines.values()
    ]
    return {
        "what": "attach cbam and timm/eca to the smallest model of each family",
        "command": "python -m benchmarks.sweeps.attach",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "conditions": conditions,
        "checks": list(CHECKS),
        "summary": summary,
        "models": rows,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


def _report(lines: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("family", "model", *WHERES, "layout proven", "pinned", "s")
    for family, line in lines.items():
        cells = []
        for where in WHERES:
            if "error" in line:
                cells.append(str(line["error"])[:60])
                continue
            failed = {
                f"{layer}: {check}"
                for layer, result in line["results"][where].items()
                for check in CHECKS
                if not result.get(check)
            }
            refused = line.get("refused", {}).get(where)
            cells.append(refused[:60] if refused else ", ".join(sorted(failed)) or f"ok ({len(line['sites'][where])})")
        proof = line.get("layout", {})
        table.add_row(
            family, line["model"], *cells, f"{proof.get('proven')}/{proof.get('spots')}", str(line["pinned"]),
            f"{line.get('seconds', 0):.0f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for where in WHERES:
        console.print(f"{where}: {sum(_passed(line, where) for line in lines.values())} of {len(lines)}")


if __name__ == "__main__":
    main()
