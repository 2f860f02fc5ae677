"""Everything that speed is held to beside what the committed results say, lost goals among them.

``python docs/generate.py`` keeps ``results/goals.json`` in step with the results; the report shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.ops_goals import Verdict, verdicts

RESULTS = Path(__file__).with_name("results")
SAVED = 1.2
"""Maps that CBAM may keep for its backward pass, in the worst case."""
RESNET50 = 1 / 3
"""What attnzoo's CBAM may add to ResNet-50, as a share of what timm's adds."""
CEDNN = {"eager": 5.0, "compiled": 3.0}
CEDNN_TORCH, CEDNN_TRAINING = 2.0, 0.65
CONCATENATED, DBA_SHARE = 1.1, 0.03
FASTEST = "res-L18M1"


def record(folder: Path = RESULTS) -> dict[str, Any]:
    """Return all verdicts as a result, see README.md."""
    found = [*operations(folder), *resnet50(folder), *cednn(folder), *networks(folder)]
    rows = [{**each._asdict(), "measured": round(each.measured, 3)} for each in found]
    return {"command": "python docs/generate.py", "rows": rows}


def operations(folder: Path) -> Iterator[Verdict]:
    """Yield what CBAM and SE are held to."""
    rows = _rows(folder, "ops-cpu")
    yield from verdicts(rows)
    ours = [row for row in rows if (row["layer"], row["provider"]) == ("cbam", "attnzoo native")]
    kept = [row["saved_maps"] for row in ours if row["mode"] == "training"]
    yield _at_most("cbam training: kept for the backward pass, in maps", SAVED, max(kept), len(kept))


def resnet50(folder: Path) -> Iterator[Verdict]:
    """Yield what CBAM may add to a network."""
    rows = _rows(folder, "resnet50-cbam")
    for mode in dict.fromkeys(row["mode"] for row in rows):
        added = {row["network"]: row["added"] for row in rows if row["mode"] == mode}
        share = added["attnzoo attached"] / added["timm"]
        yield _at_most(f"CBAM on ResNet-50, {mode}: added time over timm's", RESNET50, share)


def cednn(folder: Path) -> Iterator[Verdict]:
    """Yield how many times faster than ResNet-18 CEDNN is to be."""
    rows = [row for row in _rows(folder, "cednn-cpu") if row["network"] == FASTEST]
    inference = [row for row in rows if row["mode"] == "inference"]
    for row in inference:
        name = f"CEDNN {FASTEST}, batch {row['batch']}"
        if row["provider"] == "native":
            for other, least in CEDNN.items():
                yield _at_least(f"{name}: over ResNet-18 {other}", least, row[other])
        else:
            yield _at_least(f"{name}, torch alone: over ResNet-18 eager", CEDNN_TORCH, row["eager"])
    for row in rows:
        if row["mode"] == "training":
            name = f"CEDNN {FASTEST}, training step by {row['provider']} over ResNet-18's"
            yield _at_most(name, CEDNN_TRAINING, 1 / row["eager"])


def networks(folder: Path) -> Iterator[Verdict]:
    """Yield what LLA-Net and DBA's head are held to."""
    for row in _rows(folder, "networks-cpu"):
        case = f"{row['mode']}, {' x '.join(map(str, row['shape']))}"
        if row["subject"] == "LLA-Net" and row["candidate"].startswith("F_cat concatenated"):
            yield _at_least(f"LLA-Net over {row['candidate']}: {case}", CONCATENATED, row["over_ours"])
        elif row["subject"] == "DBA's head" and row["candidate"] == "ResNet-101":
            yield _at_most(f"DBA's head over ResNet-101: {case}", DBA_SHARE, 1 / row["over_ours"])


def text(folder: Path = RESULTS) -> str:
    """Return :func:`record` as the file holds it."""
    return json.dumps(record(folder), indent=1) + "\n"


def _at_least(name: str, goal: float, measured: float) -> Verdict:
    return Verdict(name, f">= {goal:.3g}", measured, None, 1, measured >= goal)


def _at_most(name: str, goal: float, measured: float, cases: int = 1) -> Verdict:
    return Verdict(name, f"<= {goal:.3g}", measured, None, cases, measured <= goal)


def _rows(folder: Path, name: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads((folder / f"{name}.json").read_text())["rows"]
    return found
