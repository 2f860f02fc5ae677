"""The fused operations, every implementation beside every other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnzoo.pages import Cell, Column, Missing, Plot, Point, Section, Table, number, sizes
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing

CASES = (
    Column("layer", choice=True),
    Column("mode", choice=True),
    Column("dtype", choice=True),
    Column("layout", choice=True),
    Column("map", choice=True),
    Column("by", choice=True),
    Column("time", numeric=True, unit="us"),
    Column("quartiles", numeric=True, unit="us"),
    Column("copies", numeric=True),
    Column("kept", numeric=True, unit="maps"),
    Column("peak", numeric=True, unit="maps"),
)


def operations(results: Results) -> Section:
    """Return plots and all rows of CBAM and SE by every implementation."""
    blocks: list[Any] = []
    result = results.read("ops-cpu")
    if result is None:
        blocks.append(missing("ops-cpu"))
    else:
        rows = results.rows("ops-cpu")
        blocks += _plots(rows)
        shown = [_case(row) for row in rows]
        blocks.append(Table("operations-all", "Every measured case", CASES, shown, source(result), folded=True))
    blocks.append(_traffic(results))
    intro = "CBAM and SE by our fused operations, by timm and by torchvision, eager and compiled, in one run."
    return Section("operations", "Operations", intro, blocks)


def _plots(rows: Sequence[Mapping[str, Any]]) -> Iterator[Plot]:
    """Yield a plot for each layer and mode, contiguous and in single precision."""
    shown = [row for row in rows if row["dtype"] == "fp32" and row["layout"] == "NCHW"]
    for layer, mode in dict.fromkeys((row["layer"], row["mode"]) for row in shown):
        chosen = [row for row in shown if (row["layer"], row["mode"]) == (layer, mode)]
        points = [
            Point(
                "a copy of the map" if row["provider"] == "copy" else row["provider"],
                math.prod(row["shape"]) / 1e6,
                row["median_us"] / 1e3,
                f"{_shape(row)}, {row['median_us'] / 1e3:.3g} ms, {row['copies']:.3g} copies",
            )
            for row in chosen
        ]
        title = f"{layer.upper()}, {mode}: time against the map's size"
        key = f"operations-{layer.replace(' ', '-')}-{mode}"
        yield Plot(key, title, "M values in the map", "ms", points, note="fp32, NCHW.")


def _case(row: Mapping[str, Any]) -> list[Cell]:
    texts = (row["layer"], row["mode"], row["dtype"], row["layout"], _shape(row), row["provider"])
    figures = (row["median_us"], row["quartiles_us"], row["copies"], row["saved_maps"], row["peak_maps"])
    return [*map(Cell, texts), *map(number, figures)]


def _shape(row: Mapping[str, Any]) -> str:
    return sizes(row["shape"])


def _traffic(results: Results) -> Table | Missing:
    """Return what the Triton kernels read and write, which is counted and needs no GPU."""
    result = results.read("triton-builds")
    if result is None:
        return missing("triton-builds")
    columns = [
        Column("operation"),
        Column("layout", choice=True),
        Column("launches", numeric=True),
        Column("moved", numeric=True, unit="maps"),
        Column("floor", numeric=True, unit="maps"),
        Column("besides", numeric=True, unit="maps"),
    ]
    names = ("launches", "maps", "floor", "besides")
    rows = [
        [Cell(row["operation"]), Cell(row["layout"]), *(number(row[name]) for name in names)]
        for row in result["traffic"]
    ]
    caption = "What the Triton kernels read and write, counted in maps, against the least that is possible"
    return Table("traffic-all", caption, columns, rows, source(result), folded=True)
