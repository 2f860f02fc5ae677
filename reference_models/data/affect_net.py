"""AffectNet, manually annotated: photographs from the web; LLA-Net adds its rare expressions to Aff-Wild2.

A. Mollahosseini, B. Hasani, M. H. Mahoor, "AffectNet: A Database for Facial Expression, Valence, and Arousal Computing
in the Wild", IEEE Transactions on Affective Computing 10(1), 2019.

Layout::

    Manually_Annotated_file_lists/training.csv      with a header line
    Manually_Annotated_file_lists/validation.csv    without one
    Manually_Annotated_Images/689/737db2..jpg       the path in the first column; the list also has the face's box

Expression numbers: 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; 8 none,
9 uncertain and 10 no face are left out. The landmarks in the list belong to the uncropped photographs and are not read.
"""

from __future__ import annotations

import csv
from collections import Counter
from types import MappingProxyType

from reference_models.data.records import Box, Record, Split
from reference_models.data.tree import DataError, Tree, inside

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
LEFT_OUT = MappingProxyType({8: "none", 9: "uncertain", 10: "no face"})
COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)

_LISTS: MappingProxyType[Split, str] = MappingProxyType({"train": "training.csv", "validation": "validation.csv"})
_FOLDER, _IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"


def read(tree: Tree) -> list[Record]:
    """Return a record for each listed photograph that exists and shows one of the eight expressions."""
    records: list[Record] = []
    for split, name in _LISTS.items():
        path = f"{_FOLDER}/{name}"
        left_out: Counter[str] = Counter()
        missing = 0
        for number, row in _rows(tree, path):
            code = _whole(row[6])
            if code is not None and code in LEFT_OUT:
                left_out[LEFT_OUT[code]] += 1
                continue
            box = _box(row)
            if code is None or not 0 <= code < len(NAMES) or box is None:
                tree.error(path, f"line {number} has the expression {row[6][:20]!r} and the box {row[1:5]}")
                continue
            image = f"{_IMAGES}/{row[0]}"
            if not _is_there(tree, path, number, image):
                missing += 1
                continue
            stem = row[0].rpartition(".")[0]
            records.append(Record(image, "", stem, 0, expression=NAMES[code], split=split, box=box))
        for what, count in left_out.items():
            tree.note(path, f"{count:,} photographs with {what} are left out")
        if missing:
            tree.error(path, f"{missing:,} listed photographs are missing")
    return records


def _rows(tree: Tree, path: str) -> list[tuple[int, list[str]]]:
    """Return number and fields of each line with nine fields; a header line is skipped if there is one."""
    rows: list[tuple[int, list[str]]] = []
    try:
        with inside(tree.root, path).open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if len(row) != len(COLUMNS):
                    tree.error(path, f"line {number} must have {len(COLUMNS)} fields, got {len(row)}")
                elif number > 1 or row[0] != COLUMNS[0]:
                    rows.append((number, [*row[:5], "", *row[6:]]))  # without the long text of the landmarks
    except OSError as error:
        tree.error(path, f"cannot be read: {error.strerror}")
    except (csv.Error, UnicodeDecodeError) as error:
        tree.error(path, f"is no table of comma-separated values: {error}")
    return rows


def _is_there(tree: Tree, path: str, number: int, image: str) -> bool:
    try:
        inside(tree.root, image)
    except DataError as error:
        tree.error(path, f"line {number}: {error}")
        return False
    return tree.has_file(image)


def _box(row: list[str]) -> Box | None:
    left, top, width, height = (_whole(field) for field in row[1:5])
    if left is None or top is None or width is None or height is None or width < 1 or height < 1:
        return None
    return left, top, left + width, top + height


def _whole(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 9 else None
