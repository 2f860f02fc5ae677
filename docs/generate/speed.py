"""The tables of how fast networks are, from ``benchmarks/results``: a plain shell first, then the tuned environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import goals

Rows = Sequence[Mapping[str, Any]]
Drawn = tuple[list[str], list[list[str]]]
LAYERS = ("cbam", "se")


def resnet50(rows: Rows) -> Drawn:
    """Return what attention adds to ResNet-50: a row for each environment, mode, batch and layer."""
    header = ["environment", "mode", "batch", "layer", "bare, ms", "attnzoo adds", '`init="paper"`', "timm adds"]
    header += ["of timm's", "goal", "held"]
    cases: dict[tuple[str, str, int], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["environment"], row["mode"], row["batch"]), {})[row["network"]] = row
    drawn = []
    for (environment, mode, batch), found in cases.items():
        for layer in LAYERS:
            bare, timm = found["bare"], found[f"timm {layer}"]
            ours, paper = found[f"attnzoo {layer}"], found[f"attnzoo paper {layer}"]
            most = goals.RESNET50[layer, environment][0 if batch == 1 else 1]
            times = [f"{bare['median_ms']:.1f}", *(f"{row['added_ms']:.1f}" for row in (ours, paper, timm))]
            drawn.append([environment, mode, str(batch), layer, *times, *_held(ours["of_timm"], most)])
    return header, drawn


def resnet50_short(rows: Rows) -> Drawn:
    """Return the same in brief: one image, eight, and a training step, attached by default and timm's."""
    header = ["environment", "mode", "batch", "bare, ms", "CBAM adds", "timm's", "SE adds", "timm's"]
    drawn: dict[tuple[str, str, int], list[str]] = {}
    for row in rows:
        case = (row["environment"], row["mode"], row["batch"])
        if case[1:] not in {("inference", 1), ("inference", 8), ("training", 4)} or "paper" in row["network"]:
            continue
        figure = row["median_ms"] if row["network"] == "bare" else row["added_ms"]
        drawn.setdefault(case, [case[0], case[1], str(case[2])]).append(f"{figure:.1f}")
    return header, list(drawn.values())


def resnet50_alone(rows: Rows) -> Drawn:
    """Return what networks do in processes to themselves, in a plain shell: a row for each batch."""
    names = ("bare", *(f"{name} {layer}" for layer in LAYERS for name in ("attnzoo", "timm")))
    header = ["batch", *(f"{name}, ms (page faults)" for name in names)]
    drawn: dict[int, dict[str, str]] = {}
    for row in rows:
        if "alone_ms" in row:
            cell = f"{row['alone_ms']:.1f} ({row['page_faults_alone']:,})"
            drawn.setdefault(row["batch"], {})[row["network"]] = cell
    return header, [[str(batch), *(cells[name] for name in names)] for batch, cells in drawn.items()]


def graphs(rows: Rows) -> Drawn:
    """Return what CBAM costs in a graph: a row for each kind of graph, mode and batch."""
    header = ["graph", "mode", "batch", "bare, ms", "attnzoo adds", '`init="paper"`', "timm adds"]
    header += ["compared", "over timm's", "goal", "held", "nodes: bare", "attnzoo", "paper", "timm"]
    cases: dict[tuple[str, str, int], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["graph"], row["mode"], row["batch"]), {})[row["network"]] = row
    drawn = []
    for (graph, mode, batch), found in cases.items():
        networks = [found[name] for name in ("bare", "attnzoo cbam", "attnzoo paper cbam", "timm cbam")]
        times = [f"{networks[0]['median_ms']:.1f}", *(f"{row['added_ms']:.1f}" for row in networks[1:])]
        compiled = graph == "compiled"
        share = found["attnzoo cbam"]["of_timm" if compiled else "over_timm"]
        held = _held(share, goals.COMPILED if compiled else goals.EXPORTED)
        held = [held[0], "-", "-"] if graph in goals.NO_GOAL else held
        nodes = ["-" if row["nodes"] is None else f"{row['nodes']}" for row in networks]
        drawn.append([graph, mode, str(batch), *times, "added time" if compiled else "time", *held, *nodes])
    return header, drawn


def cednn(rows: Rows) -> Drawn:
    """Return CEDNN beside ResNet-18 and its own export: a row for each candidate, the environments side by side."""
    environments = list(dict.fromkeys(row["environment"] for row in rows))
    header = ["mode", "batch", "network", "run by"]
    for environment in environments:
        header += [f"{environment}: ms", "over ResNet-18 eager", "compiled"]
    candidates: dict[tuple[str, int, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["mode"], row["batch"], row["network"], row["provider"])
        candidates.setdefault(key, {})[row["environment"]] = row
    drawn = []
    for (mode, batch, network, provider), found in candidates.items():
        cells = [mode, str(batch), network, provider]
        for environment in environments:
            row = found[environment]
            ratios = ("-" if row[name] is None else f"{row[name]:.2f}" for name in ("eager", "compiled"))
            cells += [f"{row['median_ms']:.2f}", *ratios]
        drawn.append(cells)
    return header, drawn


def _held(share: float, most: float) -> list[str]:
    return [f"{share:.2f}", f"<= {most:.3g}", "yes" if share <= most else "**no**"]


TABLES = {
    "resnet50": ("resnet50", resnet50),
    "resnet50-alone": ("resnet50", resnet50_alone),
    "resnet50-short": ("resnet50", resnet50_short),
    "graphs": ("graphs", graphs),
    "cednn": ("cednn-cpu", cednn),
}
"""By name: the result that a table is drawn from, and what draws it."""
