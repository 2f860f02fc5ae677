"""All layers: what each has, does, takes and keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnzoo.costs import CONVENTIONS
from attnzoo.pages import Cell, Column, Plot, Point, Section, Table, Words, number, sizes
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing

MODES = {"forward": "Forward", "training": "Forward and backward"}
COLUMNS = (
    Column("layer"),
    Column("made by", choice=True),
    Column("run by", choice=True),
    Column("parameters", numeric=True),
    Column("MACs", numeric=True, unit="fvcore"),
    Column("activations", numeric=True, unit="kB"),
    Column("forward", numeric=True, unit="ms"),
    Column("training", numeric=True, unit="ms"),
    Column("peak", numeric=True, unit="MB, forward"),
    Column("kept", numeric=True, unit="MB, for backward"),
    Column("networks", unit="and their claims"),
)


def layers(results: Results) -> Section:
    """Return the table of the layers, and their time against their arithmetic."""
    result = results.read("layers-cpu")
    intro = "Every layer of the registry on one map, and timm's attentions beside ours, in one run."
    if result is None:
        return Section("layers", "Layers", intro, [missing("layers-cpu")])
    rows = results.rows("layers-cpu")
    claims = results.rows("claims-small")
    shape = sizes(rows[0]["shape"])
    note = (
        f"On maps of {shape}, fp32; parameters, MACs and activation bytes are those of one image. MACs: "
        f"{CONVENTIONS['MACs (fvcore)']}. Activations: {CONVENTIONS['activation bytes']}; a fused operation's are not "
        "among them, which peak and kept bytes show."
    )
    plots = [_plot(rows, mode, title) for mode, title in MODES.items()]
    table = Table("layers-all", "What a layer costs", COLUMNS, list(_rows(rows, claims)), source(result))
    return Section("layers", "Layers", intro, [*plots, table, Words([note], quiet=True)])


def _series(row: Mapping[str, Any]) -> str:
    if "/" in row["layer"]:
        return "timm"
    return "attnzoo, torch alone" if row["backend"] == "torch" else "attnzoo"


def _plot(rows: Sequence[Mapping[str, Any]], mode: str, title: str) -> Plot:
    points = [
        Point(
            _series(row),
            row["macs"] / 1e6,
            row["median_us"] / 1e3,
            f"{row['layer'].removeprefix('timm/')}, {row['macs'] / 1e6:.3g} M MACs, {row['median_us'] / 1e3:.3g} ms",
        )
        for row in rows
        if row["mode"] == mode and row["macs"]
    ]
    without = sorted({row["layer"] for row in rows if not row["macs"]})
    note = f"Layers without arithmetic are in the table only: {', '.join(without)}." if without else ""
    return Plot(f"layers-{mode}", f"{title}: time against arithmetic", "M MACs an image", "ms", points, note=note)


def _rows(rows: Sequence[Mapping[str, Any]], claims: Sequence[Mapping[str, Any]]) -> Iterator[list[Cell]]:
    times = {(row["layer"], row["backend"], row["mode"]): row for row in rows}
    for (layer, backend), row in {(row["layer"], row["backend"]): row for row in rows}.items():
        forward, training = (times.get((layer, backend, mode)) for mode in MODES)
        maker, _, name = layer.rpartition("/")
        yield [
            Cell(name),
            Cell(maker or "attnzoo"),
            Cell("torch" if backend == "torch" else "default"),
            number(row["parameters"]),
            number(row["macs"]),
            _scaled(row, "activation_bytes", 1e3),
            _scaled(forward, "median_us", 1e3),
            _scaled(training, "median_us", 1e3),
            _scaled(forward, "peak_bytes", 1e6),
            _scaled(training, "saved_bytes", 1e6),
            _claims(row["networks"], claims),
        ]


def _scaled(row: Mapping[str, Any] | None, name: str, unit: float) -> Cell:
    if row is None:
        return number(None)
    return Cell(f"{row[name] / unit:,.3g}", value=row[name])


def _claims(networks: str, claims: Sequence[Mapping[str, Any]]) -> Cell:
    """Return how many claims of the networks that use the layer hold."""
    found = []
    for network in filter(None, networks.split(", ")):
        verdicts = [claim["verdict"] for claim in claims if claim["paper"] == network]
        found.append(f"{network}: {verdicts.count('holds')} of {len(verdicts)} hold" if verdicts else network)
    return Cell("; ".join(found) or "-")
