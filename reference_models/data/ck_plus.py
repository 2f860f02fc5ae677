"""CK+: 593 sequences of 123 subjects from the neutral face to the peak; the peak frame is FACS-coded.

P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar, I. Matthews, "The Extended Cohn-Kanade Dataset (CK+)", CVPR
Workshops 2010.

Layout::

    cohn-kanade-images/S005/001/S005_001_00000011.png             the sequence; its last frame is the peak
    FACS/S005/001/S005_001_00000011_facs.txt                      lines "unit level", 9.0000000e+00 0.0000000e+00
    Emotion/S005/001/S005_001_00000011_emotion.txt                one number, 0 neutral .. 7 surprise; 327 have one
    Landmarks/S005/001/S005_001_00000011_landmarks.txt            68 lines "x y"

A unit that the FACS file does not list is absent; level 0 in the file means present but not scored. Many emotion
folders are empty as published; a sequence without a FACS file has no action units and is kept if it has an emotion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reference_models.data.records import PRESENT, Record
from reference_models.data.tree import PICTURES, Tree

UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 17, 23, 24, 25, 27)
"""The thirteen units that CEDNN reports."""
CODED = (*range(1, 8), *range(9, 32), 34, 38, 39, 43, 44, 45, 54, 61, 62, 63, 64)
"""Every unit that is absent where a FACS file does not list it."""
EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
SUBJECTS, SEQUENCES = 123, 593

_IMAGES, _FACS, _EMOTION, _LANDMARKS = "cohn-kanade-images", "FACS", "Emotion", "Landmarks"
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?")
_PICTURE = re.compile(r"(S\d{3})_(\d{3})_(\d{8})\.png", re.IGNORECASE)
_MAX_LEVEL = 5


def read(tree: Tree) -> list[Record]:
    """Return a record for the peak frame of each sequence that has a FACS or an emotion file."""
    records: list[Record] = []
    sequences = 0
    subjects = tree.folders(_IMAGES)
    for subject in subjects:
        for sequence in tree.folders(f"{_IMAGES}/{subject}"):
            sequences += 1
            record = _record(tree, subject, sequence)
            if record is not None:
                records.append(record)
    if not tree.synthetic and (len(subjects) != SUBJECTS or sequences != SEQUENCES):
        missing = len(subjects) < SUBJECTS or sequences < SEQUENCES
        report = tree.error if missing else tree.note
        report(_IMAGES, f"holds {sequences} sequences of {len(subjects)} subjects; CK+ has {SEQUENCES} of {SUBJECTS}")
    return records


def _record(tree: Tree, subject: str, sequence: str) -> Record | None:
    folder = f"{_IMAGES}/{subject}/{sequence}"
    pictures: list[str] = []
    for name in tree.files(folder, PICTURES):
        if match := _PICTURE.fullmatch(name):
            if match[1] == subject and match[2] == sequence:
                pictures.append(name)
                continue
            tree.error(f"{folder}/{name}", "its name is that of another sequence")
        else:
            tree.note(f"{folder}/{name}", "is no frame of the sequence and is left out")
    if not pictures:
        tree.error(folder, "holds no frame")
        return None
    peak = pictures[-1].rpartition(".")[0]
    levels = _facs(tree, subject, sequence, peak)
    emotion = _emotion(tree, subject, sequence, peak)
    if levels is None and emotion is None:
        tree.note(folder, "has neither a FACS nor an emotion file and is left out")
        return None
    landmarks = f"{_LANDMARKS}/{subject}/{sequence}/{peak}_landmarks.txt"
    if not tree.has_file(landmarks):
        tree.note(landmarks, "the peak has no landmarks")
    units = () if levels is None else tuple(sorted({*CODED, *levels}))
    return Record(
        image=f"{folder}/{pictures[-1]}",
        subject=subject,
        sequence=f"{subject}/{sequence}",
        frame=int(peak[-8:]),
        units=units,
        levels=tuple((levels or {}).get(unit, 0) for unit in units),
        expression=emotion,
        neutral=f"{folder}/{pictures[0]}" if len(pictures) > 1 else None,
        landmarks=landmarks if tree.has_file(landmarks) else None,
    )


def _label_file(tree: Tree, folder: str, peak: str, suffix: str) -> str | None:
    """Return the path of the peak's label file, None if there is none; report label files of other frames."""
    names = [name for name in tree.files(folder, {".txt"}) if name.endswith(suffix)]
    expected = f"{peak}{suffix}"
    for name in names:
        if name != expected:
            tree.error(f"{folder}/{name}", f"labels another frame than the peak, {peak}: is the sequence complete?")
    return f"{folder}/{expected}" if expected in names else None


def _facs(tree: Tree, subject: str, sequence: str, peak: str) -> Mapping[int, int] | None:
    folder = f"{_FACS}/{subject}/{sequence}"
    path = _label_file(tree, folder, peak, "_facs.txt")
    if path is None:
        tree.note(folder, "there is no FACS file: the sequence has no action units")
        return None
    lines = tree.lines(path)
    if lines == []:
        tree.note(path, "is empty: every unit is taken as absent")
    levels: dict[int, int] = {}
    for number, line in lines or ():
        pair = [_whole(text) for text in line.split()]
        unit, level = pair if len(pair) == 2 else (None, None)
        if unit is None or level is None or not 1 <= unit <= 99 or not 0 <= level <= _MAX_LEVEL:
            tree.error(path, f"line {number} must be 'unit level' with a level from 0 to 5, got {line[:40]!r}")
            return None
        levels[unit] = level or PRESENT
    return None if lines is None else levels


def _emotion(tree: Tree, subject: str, sequence: str, peak: str) -> str | None:
    path = _label_file(tree, f"{_EMOTION}/{subject}/{sequence}", peak, "_emotion.txt")
    if path is None:
        return None
    lines = [line for _, line in tree.lines(path) or ()]
    number = _whole(lines[0]) if len(lines) == 1 else None
    if number is None or not 0 <= number < len(EMOTIONS):
        tree.error(path, f"must hold one number from 0 to {len(EMOTIONS) - 1}, got {' '.join(lines)[:40]!r}")
        return None
    return EMOTIONS[number]


def _whole(text: str) -> int | None:
    """Return a whole number written in decimal or scientific notation; None if the text is anything else."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if value == int(value) else None
