"""DISFA+: nine subjects posing, 12 action units at levels 0 to 5 in every frame; each trial begins with a neutral face.

M. Mavadati, P. Sanger, M. H. Mahoor, "Extended DISFA Dataset: Investigating Posed and Spontaneous Facial Expressions",
CVPR Workshops 2016.

Layout::

    Labels/SN001/A1_AU1_TrailNo_1/AU1.txt     a header, then lines "000.jpg  0"; "TrailNo" is as published
    Images/SN001/A1_AU1_TrailNo_1/000.jpg
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from reference_models.data.records import Record
from reference_models.data.tree import Tree, ranges

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
SUBJECTS = ("SN001", "SN003", "SN004", "SN007", "SN009", "SN010", "SN013", "SN025", "SN027")
MAX_LEVEL = 5
MAX_HEADER = 3

_LABELS, _IMAGES = "Labels", "Images"
_LINE = re.compile(r"(\d{1,7})\.(?:jpg|jpeg|png)[\s,;]+(\d{1,3})", re.IGNORECASE)


def read(tree: Tree) -> list[Record]:
    """Return a record for each frame that has all twelve labels and a picture."""
    records: list[Record] = []
    found = tree.folders(_LABELS)
    subjects = tuple(found) if tree.synthetic else SUBJECTS
    for subject in subjects:
        if subject not in found:
            tree.error(f"{_LABELS}/{subject}", "the subject is missing")
    for subject in found:
        if subject not in subjects:
            tree.note(f"{_LABELS}/{subject}", "is no subject of DISFA+ and is left out")
            continue
        trials = [_trial(tree, subject, trial) for trial in tree.folders(f"{_LABELS}/{subject}")]
        if not trials:
            tree.error(f"{_LABELS}/{subject}", "holds no trial")
        elsewhere = next((record.image for trial in trials for record in trial if not any(record.levels)), None)
        for trial in trials:
            records += _with_neutral(tree, trial, elsewhere)
    return records


def _with_neutral(tree: Tree, trial: Sequence[Record], elsewhere: str | None) -> list[Record]:
    """Return the records with a neutral frame: the first of their trial without active units, else ``elsewhere``."""
    neutral = next((record.image for record in trial if not any(record.levels)), None)
    if neutral is None and trial:
        tree.note(f"{_LABELS}/{trial[0].sequence}", f"no frame is neutral; {elsewhere or 'nor is any other'} is taken")
    return [replace(record, neutral=neutral or elsewhere) for record in trial]


def _trial(tree: Tree, subject: str, trial: str) -> list[Record]:
    sequence = f"{subject}/{trial}"
    columns = [_column(tree, f"{_LABELS}/{sequence}/AU{unit}.txt") for unit in UNITS]
    if not all(columns):
        return []
    complete = sorted(set.intersection(*(set(column) for column in columns)))
    if partial := set.union(*(set(column) for column in columns)) - set(complete):
        tree.error(f"{_LABELS}/{sequence}", f"not every unit is labelled in frames {ranges(partial)}")
    folder = f"{_IMAGES}/{sequence}"
    pictures = {
        int(name.partition(".")[0]): name for name in tree.files(folder, {".jpg", ".jpeg", ".png"}) if _is_number(name)
    }
    if lost := set(complete) - set(pictures):
        tree.error(folder, f"{len(lost)} labelled frames have no picture: {ranges(lost)}")
    if extra := set(pictures) - set(complete):
        tree.note(folder, f"{len(extra)} pictures have no label: {ranges(extra)}")
    return [
        Record(
            image=f"{folder}/{pictures[frame]}",
            subject=subject,
            sequence=sequence,
            frame=frame,
            units=UNITS,
            levels=tuple(column[frame] for column in columns),
        )
        for frame in complete
        if frame in pictures
    ]


def _is_number(name: str) -> bool:
    return name.partition(".")[0].isdecimal()


def _column(tree: Tree, path: str) -> dict[int, int]:
    """Return frame -> level; a header of up to three lines is skipped."""
    levels: dict[int, int] = {}
    lines = tree.lines(path)
    for number, line in lines or ():
        match = _LINE.fullmatch(line)
        if match is None and not levels and number <= MAX_HEADER:
            continue
        if match is None or int(match[2]) > MAX_LEVEL:
            tree.error(path, f"line {number} must be 'frame.jpg level' with a level from 0 to 5, got {line[:40]!r}")
        elif int(match[1]) in levels:
            tree.error(path, f"line {number} labels frame {match[1]} a second time")
        else:
            levels[int(match[1])] = int(match[2])
    if lines is not None and not levels:
        tree.error(path, "labels no frame")
    return levels
