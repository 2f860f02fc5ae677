"""Everything that speed is held to beside what the committed results say, lost goals among them.

``python -m docs.generate`` keeps ``results/goals.json`` in step with the results; the report shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import RESULTS
from benchmarks.committed import Results
from benchmarks.speed.ops_goals import Verdict, verdicts

Rows = Sequence[Mapping[str, Any]]
SAVED = 1.2
"""Maps that CBAM may keep for its backward pass, in the worst case."""
RESNET50 = {
    ("cbam", "plain"): (0.5, 0.4),
    ("cbam", "tuned"): (0.5, 1 / 3),
    ("se", "plain"): (1.0, 0.5),
    ("se", "tuned"): (1.0, 0.5),
}
"""What a layer attached by default may add to ResNet-50 over what timm's adds: to one image, to larger batches."""
COMPILED = 1.0
"""What attnzoo's CBAM may add to a compiled ResNet-50, as a share of what timm's adds."""
EXPORTED = 1.0
"""How long an exported ResNet-50 with attnzoo's CBAM may take, over that with timm's."""
NO_GOAL = ("openvino bf16", "openvino f16")
"""What is measured besides: OpenVINO in less than float32, where the processor lets it."""
CEDNN = {"eager": 5.0, "compiled": 3.0}
CEDNN_TORCH, CEDNN_TRAINING = 2.0, 0.65
RUNTIMES = {"ONNX Runtime": 3.0, "OpenVINO f32": 2.2}
"""How many times faster CEDNN is to be than a runtime is that runs the same network, exported, in float32."""
CONCATENATED, DBA_SHARE = 1.1, 0.03
FASTEST = "res-L18M1"


def record(folder: Path = RESULTS) -> dict[str, Any]:
    """Return all verdicts as a result, see README.md."""
    parts = {
        "ops-cpu": operations,
        "resnet50": resnet50,
        "graphs": graphs,
        "cednn-cpu": cednn,
        "networks-cpu": networks,
    }
    results = Results(folder)
    found = [verdict for name, goals in parts.items() for verdict in goals(results.rows(name))]
    rows = [{**each._asdict(), "measured": round(each.measured, 3)} for each in found]
    return {"command": "python -m docs.generate", "rows": rows}


def operations(rows: Rows) -> Iterator[Verdict]:
    """Yield what CBAM and SE are held to."""
    yield from verdicts(rows)
    ours = [row for row in rows if (row["layer"], row["provider"]) == ("cbam", "attnzoo native")]
    kept = [row["saved_maps"] for row in ours if row["mode"] == "training"]
    yield _at_most("cbam training: kept for the backward pass, in maps", SAVED, max(kept), len(kept))


def resnet50(rows: Rows) -> Iterator[Verdict]:
    """Yield what CBAM and SE may add to a network, each environment by itself."""
    for (layer, environment), (one, more) in RESNET50.items():
        for row in rows:
            if (row["network"], row["environment"]) == (f"attnzoo {layer}", environment):
                case = f"{environment} environment, {row['mode']}, batch {row['batch']}"
                name = f"{layer.upper()} on ResNet-50, {case}: added time over timm's"
                yield _at_most(name, one if row["batch"] == 1 else more, max(row["of_timm"], 0.0))


def graphs(rows: Rows) -> Iterator[Verdict]:
    """Yield what CBAM may cost in a graph, attached by default and as in the paper."""
    for row in rows:
        if row["of_timm"] is None or row["graph"] in NO_GOAL:
            continue
        name = f"CBAM on ResNet-50, {row['graph']}, {row['mode']}, batch {row['batch']}, {row['network']}"
        if row["graph"] == "compiled":
            yield _at_most(f"{name}: added time over timm's", COMPILED, max(row["of_timm"], 0.0))
        else:
            yield _at_most(f"{name}: time over timm's", EXPORTED, row["over_timm"])


def cednn(rows: Rows) -> Iterator[Verdict]:
    """Yield how many times faster than ResNet-18, and than runtimes, CEDNN is to be, each environment by itself."""
    chosen = [row for row in rows if row["network"] == FASTEST]
    times = {(row["environment"], row["mode"], row["batch"], row["provider"]): row["median_ms"] for row in chosen}
    for row in chosen:
        name = f"CEDNN {FASTEST}, {row['environment']} environment, batch {row['batch']}"
        if row["mode"] == "training":
            step = f"{name}, training step by {row['provider']} over ResNet-18's"
            yield _at_most(step, CEDNN_TRAINING, 1 / row["eager"])
        elif row["provider"] == "native":
            for other, least in CEDNN.items():
                yield _at_least(f"{name}: over ResNet-18 {other}", least, row[other])
            for runtime, least in RUNTIMES.items():
                theirs = times.get((row["environment"], row["mode"], row["batch"], runtime))
                if theirs is not None:
                    yield _at_least(f"{name}: over itself by {runtime}", least, theirs / row["median_ms"])
        elif row["provider"] == "torch":
            yield _at_least(f"{name}, torch alone: over ResNet-18 eager", CEDNN_TORCH, row["eager"])


def networks(rows: Rows) -> Iterator[Verdict]:
    """Yield what LLA-Net and DBA's head are held to."""
    for row in rows:
        case = f"{row['mode']}, {' x '.join(map(str, row['shape']))}"
        if row["subject"] == "LLA-Net" and row["candidate"].startswith("F_cat concatenated"):
            yield _at_least(f"LLA-Net over {row['candidate']}: {case}", CONCATENATED, row["over_ours"])
        elif row["subject"] == "DBA's head" and row["candidate"] == "ResNet-101":
            yield _at_most(f"DBA's head over ResNet-101: {case}", DBA_SHARE, 1 / row["over_ours"])


def table(found: Iterable[Verdict]) -> Table:
    """Return verdicts as a table for a terminal."""
    shown = Table("what", "goal", "measured", "held")
    for verdict in found:
        held = "yes" if verdict.held else "[bold red]NO"
        shown.add_row(verdict.name, verdict.goal, f"{verdict.measured:.2f}", held)
    return shown


def text(folder: Path = RESULTS) -> str:
    """Return :func:`record` as the file holds it."""
    return json.dumps(record(folder), indent=1) + "\n"


def _at_least(name: str, goal: float, measured: float) -> Verdict:
    return Verdict(name, f">= {goal:.3g}", measured, None, 1, measured >= goal)


def _at_most(name: str, goal: float, measured: float, cases: int = 1) -> Verdict:
    return Verdict(name, f"<= {goal:.3g}", measured, None, cases, measured <= goal)
