"""The tables of what the Triton kernels move and became, from ``benchmarks/results/triton-builds.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A table, and what is said below it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str


def traffic(result: Mapping[str, Any]) -> Table:
    """Return what every operation reads and writes, in maps, and the sums for a layer."""
    found = {(row["operation"], row["layout"]): row for row in result["traffic"]}
    operations = dict.fromkeys(operation for operation, _ in found)
    layouts = list(dict.fromkeys(layout for _, layout in found))
    moved = {operation: found[operation, layouts[0]]["maps"] for operation in operations}
    rows = [
        (
            operation,
            f"{moved[operation]:g}",
            str(found[operation, layouts[0]]["floor"]),
            *_besides(found, operation, layouts),
        )
        for operation in operations
    ]
    squeeze_excite = ("global_pool, averages", "apply_gates, channel and blend")
    cbam = ("global_pool", "squeeze_channels", "apply_gates")
    back = {"global_pool, averages": "global_pool backward, averages"}
    sums = []
    for name, parts in (("SE", squeeze_excite), ("CBAM", cbam)):
        forward = sum(moved[part] for part in parts)
        backward = sum(moved[back.get(part, f"{part.split(',')[0]} backward")] for part in parts)
        sums.append(f"{name} {forward:g} and {forward + backward:g}")
    shape = " x ".join(map(str, result["counted_on"]["shape"]))
    note = f"{result['counted_on']['dtype']}, {shape}. Layers, forward and with the backward pass: {', '.join(sums)}."
    return Table(("operation", "maps", "floor", *(f"besides, distinct: {layout}" for layout in layouts)), rows, note)


def _besides(found: Mapping[Any, Any], operation: str, layouts: Sequence[str]) -> list[str]:
    rows = [found[operation, layout] for layout in layouts]
    return [f"{row['besides']:.3f}, {row['distinct']:.3f}" for row in rows]


def builds(result: Mapping[str, Any]) -> Table:
    """Return what every kernel became, over all maps and devices that it was built for."""
    shapes = sorted({tuple(row["shape"]) for row in result["builds"]})
    rows = []
    for kernel, layout in sorted({(row["kernel"], row["layout"]) for row in result["builds"]}):
        chosen = [row for row in result["builds"] if (row["kernel"], row["layout"]) == (kernel, layout)]
        registers = [row["registers"] for row in chosen]
        spilled = max(row["spilled_bytes"] for row in chosen)
        wide = [_narrowest(chosen, shape, result["maps"]) for shape in shapes]
        rows.append((f"`{kernel}`", layout, f"{min(registers)} - {max(registers)}", str(spilled), *wide))
    devices = ", ".join(f"sm_{capability}" for capability in sorted({row["capability"] for row in result["builds"]}))
    made = ", ".join(f"{key} {value}" for key, value in result["versions"].items())
    header = (
        "kernel",
        "layout",
        "registers",
        "spilled bytes",
        *(f"wide: {' x '.join(map(str, s[1:]))}" for s in shapes),
    )
    return Table(header, rows, f"`{result['command']}`, commit {result['commit'][:10]}, for {devices}; {made}.")


def _narrowest(rows: Sequence[Mapping[str, Any]], shape: tuple[int, ...], maps: Sequence[str]) -> str:
    widths = [w for row in rows if tuple(row["shape"]) == shape for name, w in row["widths"].items() if name in maps]
    return str(min(widths)) if widths else "-"


TABLES: Mapping[str, Callable[[Mapping[str, Any]], Table]] = {"traffic": traffic, "builds": builds}
