"""Whole networks: CEDNN against ResNet-18, attention on ResNet-50, LLA-Net, DBA's head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnzoo.pages import Cell, Column, Missing, Plot, Point, Section, Table, number, sizes
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing

OPERATIONS = "thop-2019"
"""The rule by which CEDNN's paper counts, and so the horizontal axis."""
FIXED = ", fixed batch"
"""How the runs end that a plot leaves out, which has marks for eight: files in which the batch is a number."""
ADDED = (
    Column("time", numeric=True, unit="ms"),
    Column("quartiles", numeric=True, unit="ms"),
    Column("added", numeric=True, unit="ms"),
    Column("of what timm's adds", numeric=True),
)
ADDED_FIGURES = ("median_ms", "quartiles_ms", "added_ms", "of_timm")


def networks(results: Results) -> Section:
    """Return what was measured of networks."""
    blocks = [*_cednn(results), _resnet50(results), _graphs(results), _others(results)]
    intro = "Networks of the four papers and a network with attention attached, each beside its rivals in one run."
    return Section("networks", "Networks", intro, blocks)


def _cednn(results: Results) -> Iterator[Any]:
    result = results.read("cednn-cpu")
    if result is None:
        yield missing("cednn-cpu")
        return
    rows = results.rows("cednn-cpu")
    figures = (results.read("ledger") or {}).get("figures", [])
    arithmetic = {figure["variant"]: figure["computed"] for figure in figures if figure["convention"] == OPERATIONS}
    shell = rows[0]["environment"]  # the plain one where that was measured; the table has all
    drawn = [row for row in rows if row["environment"] == shell and not row["provider"].endswith(FIXED)]
    for mode, batch in dict.fromkeys((row["mode"], row["batch"]) for row in drawn):
        points = list(_points(drawn, arithmetic, mode, batch))
        if points:
            title = f"CEDNN and ResNet-18, {mode}, batch {batch}, {shell} environment: time against arithmetic"
            axis = f"M operations an image ({OPERATIONS})"
            yield Plot(f"cednn-{mode}-{batch}", title, axis, "ms", points)
    columns = [
        Column("environment", choice=True),
        Column("mode", choice=True),
        Column("batch", numeric=True, choice=True),
        Column("network"),
        Column("run by", choice=True),
        Column("time", numeric=True, unit="ms"),
        Column("quartiles", numeric=True, unit="ms"),
        Column("over ResNet-18 eager", numeric=True),
        Column("over it compiled", numeric=True),
    ]
    names = ("median_ms", "quartiles_ms", "eager", "compiled")
    shown = [
        [
            Cell(row["environment"]),
            Cell(row["mode"]),
            number(row["batch"]),
            Cell(row["network"]),
            Cell(row["provider"]),
            *(number(row[name]) for name in names),
        ]
        for row in rows
    ]
    caption = "CEDNN against torchvision's ResNet-18 and against itself exported"
    yield Table("cednn-all", caption, columns, shown, source(result), folded=True)


def _points(rows: Sequence[Mapping[str, Any]], arithmetic: Mapping[str, int], mode: str, batch: int) -> Iterator[Point]:
    for row in sorted(rows, key=lambda row: "M" not in row["network"]):  # ours first
        name, provider = row["network"], row["provider"]
        if (row["mode"], row["batch"]) == (mode, batch) and name in arithmetic:
            operations = arithmetic[name] / 1e6
            series = f"CEDNN, {provider}" if "M" in name else f"ResNet-18, {provider}"
            said = f"{name}, {operations:.4g} M operations, {row['median_ms']:.4g} ms"
            yield Point(series, operations, row["median_ms"], said)


def _resnet50(results: Results) -> Table | Missing:
    result = results.read("resnet50")
    if result is None:
        return missing("resnet50")
    columns = [
        Column("environment", choice=True),
        Column("mode", choice=True),
        Column("batch", numeric=True, choice=True),
        Column("network", choice=True),
        *ADDED,
        Column("page faults", numeric=True),
    ]
    rows = [
        [
            Cell(row["environment"]),
            Cell(row["mode"]),
            number(row["batch"]),
            Cell(row["network"]),
            *(number(row[name]) for name in (*ADDED_FIGURES, "page_faults")),
        ]
        for row in results.rows("resnet50")
    ]
    caption = "What CBAM and SE add to ResNet-50 at 224 x 224, in a plain shell and in a tuned one"
    return Table("resnet50-all", caption, columns, rows, source(result), folded=True)


def _graphs(results: Results) -> Table | Missing:
    result = results.read("graphs")
    if result is None:
        return missing("graphs")
    columns = [
        Column("graph", choice=True),
        Column("mode", choice=True),
        Column("batch", numeric=True, choice=True),
        Column("network", choice=True),
        *ADDED,
        Column("time over timm's", numeric=True),
        Column("nodes", numeric=True),
    ]
    rows = [
        [
            Cell(row["graph"]),
            Cell(row["mode"]),
            number(row["batch"]),
            Cell(row["network"]),
            *(number(row[name]) for name in (*ADDED_FIGURES, "over_timm", "nodes")),
        ]
        for row in results.rows("graphs")
    ]
    caption = "ResNet-50 with CBAM at 224 x 224, compiled by torch or exported"
    return Table("graphs-all", caption, columns, rows, source(result))


def _others(results: Results) -> Table | Missing:
    result = results.read("networks-cpu")
    if result is None:
        return missing("networks-cpu")
    columns = [
        Column("what", choice=True),
        Column("mode", choice=True),
        Column("input"),
        Column("candidate"),
        Column("time", numeric=True, unit="ms"),
        Column("over ours", numeric=True),
    ]
    rows = [
        [
            Cell(row["subject"], whole=True),
            Cell(row["mode"]),
            Cell(sizes(row["shape"])),
            Cell(row["candidate"]),
            number(row["median_us"] / 1e3),
            number(row["over_ours"]),
        ]
        for row in results.rows("networks-cpu")
    ]
    caption = "LLA-Net, DBA's head and their operations, each beside other ways to the same"
    return Table("networks-all", caption, columns, rows, source(result))
