"""Aff-Wild2, expressions: every frame of videos from the web, seven expressions.

D. Kollias, S. Zafeiriou, "Aff-Wild2: Extending the Aff-Wild Database for Affect Recognition", 2018; "Expression,
Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and ArcFace", BMVC 2019.

Layout::

    annotations/EXPR_Set/Training_Set/1-30-1280x720.txt     a header, then a whole number for each frame
    annotations/EXPR_Set/Validation_Set/..                  (Train_Set and EXPR_Classification_Challenge in later years)
    cropped_aligned/1-30-1280x720/00001.jpg                 frame 1; no picture where the owners' detector found no face

The header names the expression of each number (``Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise``); no fixed
order is assumed. The number -1 means no label. Frames labelled ``Other`` (from 2022 on) are left out. A video with two
people has two files, ``.._left`` and ``.._right``.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType

from reference_models.data.labels import EXPRESSIONS
from reference_models.data.records import Record, Split
from reference_models.data.tree import Tree, ranges

INVALID = -1
_SETS = ("annotations/EXPR_Set", "annotations/EXPR_Classification_Challenge", "annotations/EXPR_Recognition_Challenge")
_SPLITS: MappingProxyType[Split, tuple[str, ...]] = MappingProxyType(
    {"train": ("Training_Set", "Train_Set"), "validation": ("Validation_Set",)}
)
_PICTURES = ("cropped_aligned", "cropped_aligned_images", "cropped_aligned/batch1", "cropped_aligned/batch2")


def read(tree: Tree) -> list[Record]:
    """Return a record for each labelled frame with a picture, in the order of videos and frames."""
    records: list[Record] = []
    seen: dict[str, Split] = {}
    for split, names in _SPLITS.items():
        folder = tree.first_folder([f"{base}/{name}" for base in _SETS for name in names], f"{split} annotations")
        for name in tree.files(folder, {".txt"}) if folder else ():
            video = name.removesuffix(".txt")
            if video in seen:
                tree.error(f"{folder}/{name}", f"the video is among those for {seen[video]} too, and stays there")
                continue
            seen[video] = split
            records += _video(tree, f"{folder}/{name}", video, split)
    return records


def _video(tree: Tree, path: str, video: str, split: Split) -> list[Record]:
    expressions = _expressions(tree, path)
    if expressions is None:
        return []
    folder = next((f"{parent}/{video}" for parent in _PICTURES if tree.has_folder(f"{parent}/{video}")), None)
    if folder is None:
        tree.error(f"{_PICTURES[0]}/{video}", "there is no folder with the video's pictures")
        return []
    records = []
    lost = []
    for frame, expression in expressions.items():
        image = f"{folder}/{frame:05d}.jpg"
        if tree.has_file(image):
            records.append(Record(image, video, video, frame, expression=expression, split=split))
        else:
            lost.append(frame)
    if lost:
        report = tree.note if records else tree.error
        report(folder, f"{len(lost)} labelled frames have no picture: {ranges(lost)}")
    return records


def _expressions(tree: Tree, path: str) -> dict[int, str] | None:
    """Return frame -> expression for frames labelled with one of the seven; None without a header.

    Line 1 is the header and line n + 1 belongs to frame n, so that an empty line shifts no label.
    """
    lines = tree.lines(path)
    if lines is None:
        return None
    names = [name.strip().lower() for name in lines[0][1].split(",")] if lines else []
    if not set(EXPRESSIONS) <= set(names):
        tree.error(path, "must begin with a header that names the seven expressions")
        return None
    expressions: dict[int, str] = {}
    left_out: Counter[str] = Counter()
    for number, line in lines[1:]:
        code = int(line) if line.removeprefix("-").isdecimal() and len(line) < 4 else None
        if code is None or not INVALID <= code < len(names):
            tree.error(path, f"line {number} must be a number from -1 to {len(names) - 1}, got {line[:40]!r}")
            code = INVALID
        name = "no label" if code == INVALID else names[code]
        if name in EXPRESSIONS:
            expressions[number - 1] = name
        else:
            left_out[name] += 1
    for name, count in left_out.items():
        tree.note(path, f"{count} frames with {name} are left out")
    return expressions
