"""Data of your own: a folder with pictures and ``records.jsonl``, with one JSON object per line for each record.

::

    {"image": "anna/rest.png", "subject": "anna", "sequence": "anna", "frame": 1, "units": [1, 12], "levels": [0, 0]}
    {"image": "anna/smile.png", "subject": "anna", "sequence": "anna", "frame": 2, "units": [1, 12], "levels": [0, 4],
     "neutral": "anna/rest.png"}                                          (in one line)

The fields are those of :class:`~reference_models.data.Record`; the first four are required. All paths are relative to
the folder and must stay inside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, get_args

from attnzoo.files import write_atomically
from reference_models.data.labels import KNOWN_EXPRESSIONS
from reference_models.data.records import PRESENT, Record, Split
from reference_models.data.tree import DataError, Tree, inside

FILE = "records.jsonl"
_DEFAULTS = {each.name: each.default for each in fields(Record)}
_NEEDED = [name for name, default in _DEFAULTS.items() if default is MISSING]
_PATHS = ("image", "neutral", "landmarks")
_TEXTS = ("image", "subject", "sequence", "neutral", "landmarks", "expression", "split")
_WHOLE = ("frame", "neutral_frame")
_LISTS = ("units", "levels", "box")


def read(tree: Tree) -> list[Record]:
    """Return a record for each valid line whose files exist."""
    records: dict[str, Record] = {}
    for number, line in tree.lines(FILE) or ():
        try:
            record = as_record(json.loads(line))
            for name in _PATHS:
                path = getattr(record, name)
                if path is not None:
                    inside(tree.root, path)
        except (ValueError, RecursionError) as error:
            tree.error(FILE, f"line {number}: {error}")
            continue
        lost = [path for path in (record.image, record.neutral, record.landmarks) if path and not tree.has_file(path)]
        if record.key in records:
            tree.error(FILE, f"line {number} is a second record of {record.key}")
        elif lost:
            tree.error(FILE, f"line {number}: {', '.join(lost)} is missing")
        else:
            records[record.key] = record
    return list(records.values())


def write(records: Iterable[Record], root: Path) -> Path:
    """Write ``records.jsonl`` into a folder, atomically, and return its path.

    Raises:
        DataError: If a path of a record leads out of the folder.
        OSError: If the file cannot be written.
    """
    lines = []
    for record in records:
        for name in _PATHS:
            path = getattr(record, name)
            if path is not None:
                inside(root, path)
        plain = {name: value for name, value in asdict(record).items() if value != _DEFAULTS[name]}
        lines.append(json.dumps(plain, ensure_ascii=False))
    path = root / FILE
    write_atomically(path, ("\n".join(lines) + "\n").encode())
    return path


def as_record(plain: Any) -> Record:
    """Return the record of a JSON object.

    Raises:
        DataError: If a field is missing or unknown, or its value is not allowed.
    """
    if not isinstance(plain, dict):
        raise DataError(f"a record must be an object, got {str(plain)[:40]!r}")
    if missing := [name for name in _NEEDED if plain.get(name) is None]:
        raise DataError(f"a record must have {', '.join(missing)}")
    if unknown := [name for name in plain if name not in _DEFAULTS]:
        raise DataError(f"a record has no {', '.join(unknown)}")
    values = {name: value for name, value in plain.items() if value is not None}
    for name, value in values.items():
        if name in _TEXTS and not isinstance(value, str):
            raise DataError(f"{name} must be a text, got {value!r}")
        if name in _WHOLE and not _is_whole(value):
            raise DataError(f"{name} must be a whole number, got {value!r}")
        if name in _LISTS and not (isinstance(value, list) and all(map(_is_whole, value))):
            raise DataError(f"{name} must be a list of whole numbers, got {value!r}")
    fitting: dict[str, Any] = {name: tuple(value) if name in _LISTS else value for name, value in values.items()}
    record = Record(**fitting)
    _check_labels(record)
    return record


def _check_labels(record: Record) -> None:
    if len(record.units) != len(record.levels) or len(set(record.units)) != len(record.units):
        raise DataError(f"units must be different and as many as levels, got {record.units} and {record.levels}")
    if wrong := [level for level in record.levels if not PRESENT <= level <= 5]:
        raise DataError(f"levels must be 0 to 5, or {PRESENT} for present, got {wrong}")
    if record.expression is not None and record.expression not in KNOWN_EXPRESSIONS:
        raise DataError(f"expression must be one of {', '.join(sorted(KNOWN_EXPRESSIONS))}, got {record.expression!r}")
    if record.split is not None and record.split not in get_args(Split):
        raise DataError(f"split must be one of {', '.join(get_args(Split))}, got {record.split!r}")
    if record.box is not None and len(record.box) != 4:
        raise DataError(f"box must be left, top, right, bottom, got {record.box}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
