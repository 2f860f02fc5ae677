"""Whole networks: CEDNN against ResNet-18, CBAM on ResNet-50, LLA-Net, DBA's head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnzoo.pages import Cell, Column, Missing, Plot, Point, Section, Table, number, sizes
from attnzoo.report.results import Results, missing, source

OPERATIONS = "thop-2019"
"""The rule by which CEDNN's paper counts, and so the horizontal axis."""


def networks(results: Results) -> Section:
    """Return what was measured of networks."""
    blocks = [*_cednn(results), _resnet50(results), _others(results)]
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
    for mode, batch in dict.fromkeys((row["mode"], row["batch"]) for row in rows):
        points = list(_points(rows, arithmetic, mode, batch))
        if points:
            title = f"CEDNN and ResNet-18, {mode}, batch {batch}: time against arithmetic"
            axis = f"M operations an image ({OPERATIONS})"
            yield Plot(f"cednn-{mode}-{batch}", title, axis, "ms", points)
    columns = [
        Column("mode", choice=True),
        Column("batch", numeric=True, choice=True),
        Column("network"),
        Column("run", choice=True),
        Column("time", numeric=True, unit="ms"),
        Column("quartiles", numeric=True, unit="ms"),
        Column("over ResNet-18 eager", numeric=True),
        Column("over it compiled", numeric=True),
    ]
    names = ("median_ms", "quartiles_ms", "eager", "compiled")
    shown = [
        [
            Cell(row["mode"]),
            number(row["batch"]),
            Cell(row["network"]),
            Cell(row["provider"]),
            *(number(row[name]) for name in names),
        ]
        for row in rows
    ]
    yield Table("cednn-all", "CEDNN against torchvision's ResNet-18", columns, shown, source(result), folded=True)


def _points(rows: Sequence[Mapping[str, Any]], arithmetic: Mapping[str, int], mode: str, batch: int) -> Iterator[Point]:
    for row in sorted(rows, key=lambda row: "M" not in row["network"]):  # ours first
        name, provider = row["network"], row["provider"]
        if (row["mode"], row["batch"]) == (mode, batch) and name in arithmetic:
            operations = arithmetic[name] / 1e6
            series = f"CEDNN, {provider}" if "M" in name else f"ResNet-18, {provider}"
            said = f"{name}, {operations:.4g} M operations, {row['median_ms']:.4g} ms"
            yield Point(series, operations, row["median_ms"], said)


def _resnet50(results: Results) -> Table | Missing:
    result = results.read("resnet50-cbam")
    if result is None:
        return missing("resnet50-cbam")
    columns = [
        Column("mode", choice=True),
        Column("batch", numeric=True),
        Column("network"),
        Column("time", numeric=True, unit="ms"),
        Column("quartiles", numeric=True, unit="ms"),
        Column("added", numeric=True),
    ]
    rows = [
        [
            Cell(row["mode"]),
            number(row["batch"]),
            Cell(row["network"]),
            number(row["median_ms"]),
            number(row["quartiles_ms"]),
            Cell(f"{row['added']:.1%}", value=row["added"]),
        ]
        for row in results.rows("resnet50-cbam")
    ]
    return Table("resnet50-all", "What CBAM adds to ResNet-50 at 224 x 224", columns, rows, source(result))


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
