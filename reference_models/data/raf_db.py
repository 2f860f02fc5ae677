"""RAF-DB, basic expressions: 12,271 training and 3,068 test pictures from the web, seven expressions.

S. Li, W. Deng, J. P. Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in
the Wild", CVPR 2017.

Layout, in the root or in its folder ``basic``::

    EmoLabel/list_patition_label.txt        lines "train_00001.jpg 5"; "patition" is as published
    Image/aligned/train_00001_aligned.jpg   100 x 100, or Image/original/train_00001.jpg

The numbers are 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral. The persons in the pictures
are not identified. The published five points (eye centres, nose and mouth corners of the original pictures) are not
dlib's five, and are not read.
"""

from __future__ import annotations

import re
from collections import Counter
from types import MappingProxyType

from reference_models.checks import one_of
from reference_models.data.records import Record, Split
from reference_models.data.tree import Tree

CODES = MappingProxyType(
    {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"}
)
CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The expressions in the order of DBA-Net's text."""
COUNTS: MappingProxyType[Split, int] = MappingProxyType({"train": 12_271, "test": 3_068})

_LIST = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")
_LINE = re.compile(r"(train|test)_(\d{4,5})\.jpg\s+(\d)")  # test_0001, but train_00001


def read(tree: Tree, *, pictures: str = "aligned") -> list[Record]:
    """Return a record for each listed picture that exists.

    Args:
        tree: The copy of the dataset.
        pictures: ``aligned`` or ``original``.

    Raises:
        ValueError: If ``pictures`` is neither.
    """
    one_of("pictures", pictures, ("aligned", "original"))
    base = "basic/" if tree.has_folder("basic") else ""
    folder = f"{base}Image/{pictures}"
    path = next((f"{base}{name}" for name in _LIST if tree.has_file(f"{base}{name}")), f"{base}{_LIST[0]}")
    records: dict[str, Record] = {}
    for number, line in tree.lines(path) or ():
        match = _LINE.fullmatch(line)
        if match is None or int(match[3]) not in CODES:
            tree.error(path, f"line {number} must be 'train_00001.jpg 5' with a label from 1 to 7, got {line[:40]!r}")
            continue
        split: Split = "train" if match[1] == "train" else "test"
        name = f"{match[1]}_{match[2]}{'_aligned' if pictures == 'aligned' else ''}.jpg"
        record = Record(f"{folder}/{name}", "", match[1], int(match[2]), expression=CODES[int(match[3])], split=split)
        if record.key in records:
            tree.error(path, f"line {number} lists {match[1]}_{match[2]}.jpg a second time")
        elif tree.has_file(record.image):
            records[record.key] = record
        else:
            tree.error(record.image, "the picture is missing")
    if not tree.synthetic:
        _count(tree, path, records)
    return list(records.values())


def _count(tree: Tree, path: str, records: dict[str, Record]) -> None:
    counts = Counter(record.split for record in records.values())
    for split, expected in COUNTS.items():
        if counts[split] != expected:
            report = tree.error if counts[split] < expected else tree.note
            report(path, f"{counts[split]:,} {split} pictures can be used; RAF-DB has {expected:,}")
