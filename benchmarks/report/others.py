"""Whatever else the folder holds, as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attnzoo.pages import Column, Section, Table, Words, number
from benchmarks.committed import Results, source

MANY = 30
"""A table of more rows is closed at first."""


def others(results: Results) -> Section:
    """Return every result that no other section has read, a table for each list of rows in it."""
    blocks: list[Any] = []
    for name in results.names:
        if name not in results.shown:
            result = results.read(name) or {}
            tables = list(_tables(name, result))
            blocks += tables or [Words([f"{name}.json holds no table."], quiet=True)]
    intro = "What else is in the folder of results."
    return Section("others", "Others", intro, blocks or [Words(["There is nothing else."])])


def _tables(name: str, result: Mapping[str, Any]) -> Iterator[Table]:
    for key, value in result.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            title = name if key == "rows" else f"{name}: {key}"
            yield table(f"others-{name}-{key}", title, value, source(result))


def table(key: str, caption: str, rows: Sequence[Mapping[str, Any]], said: str) -> Table:
    """Return a table of flat objects: a column for every key that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [Column(name.replace("_", " "), *_kind([row.get(name) for row in rows])) for name in names]
    cells = [[number(row.get(name)) for name in names] for row in rows]
    anchor = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
    return Table(anchor, caption, columns, cells, said, folded=len(rows) > MANY)


def _kind(values: Sequence[Any]) -> tuple[bool, bool]:
    """Return whether a column is of figures, and whether it is offered as a filter."""
    given = [value for value in values if value is not None]
    figures = bool(given) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given)
    return figures, bool(given) and all(isinstance(value, (str, bool)) for value in given)
