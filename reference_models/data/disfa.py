"""DISFA: 27 subjects watching a film, 4,845 frames each, 12 action units at levels 0 to 5 in every frame.

S. M. Mavadati, M. H. Mahoor, K. Bartlett, P. Trinh, J. F. Cohn, "DISFA: A Spontaneous Facial Action Intensity
Database", IEEE Transactions on Affective Computing 4(2), 2013.

Layout::

    ActionUnit_Labels/SN001/SN001_au1.txt                   lines "frame,level", frames from 1
    Landmark_Points/SN001/tmp_frame_lm/SN001_0000_lm.mat    66 points "pts", numbered from 0: frame 1 is 0000
    Landmark_Points/SN031/tmp_frame_lm/l00000_lm.mat        the form of the name for some subjects
    Video_RightCamera/RightVideoSN001_comp.avi              or Videos_RightCamera, .._Comp.avi; the same with Left
    Images_RightCamera/SN001/00001.jpg                      frames extracted from the videos by the user, if any

Extracted frames must be in one folder for each subject; the last number in a picture's name is the frame number.
Without these folders frames are read from the videos. ``bad_landmarks.txt`` in the root lists frames with wrong
landmarks, one subject per line: ``SN002: 800, 3019-3022``.
"""

from __future__ import annotations

import re

from reference_models.data.records import Record
from reference_models.data.tree import PICTURES, Tree, ranges

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
NUMBERS = (*range(1, 14), 16, 17, 18, 21, *range(23, 33))
SUBJECTS = tuple(f"SN{number:03d}" for number in NUMBERS)
MAX_LEVEL = 5
BAD_LANDMARKS = "bad_landmarks.txt"

_LABELS = "ActionUnit_Labels"
_POINTS = "Landmark_Points/{}/tmp_frame_lm"
_LINE = re.compile(r"(\d{1,7})\s*,\s*(\d{1,3})")
_NUMBER = re.compile(r"(\d+)\D*$")
_LANDMARKS = re.compile(r"(?:SN\d{3}_|l)(\d+)_lm\.(?:mat|txt)", re.IGNORECASE)
_BAD = re.compile(r"(SN\d{3})\s*[:\s]\s*([\d\s,;-]+)")


def read(tree: Tree, *, camera: str = "Right") -> list[Record]:
    """Return a record for each frame that has all twelve labels and a picture.

    Args:
        tree: The copy of the dataset.
        camera: ``Right`` or ``Left``, the camera whose pictures are used.
    """
    bad = _bad_landmarks(tree)
    subjects = tree.folders(_LABELS)
    for subject in SUBJECTS:
        if subject not in subjects:
            tree.error(f"{_LABELS}/{subject}", "the subject is missing")
    records: list[Record] = []
    for subject in subjects:
        if subject not in SUBJECTS:
            tree.note(f"{_LABELS}/{subject}", "is no subject of DISFA and is left out")
            continue
        levels = _levels(tree, subject)
        if levels:
            records += _records(tree, subject, levels, camera, bad.get(subject, frozenset()))
    return records


def _records(
    tree: Tree, subject: str, levels: dict[int, tuple[int, ...]], camera: str, bad: frozenset[int]
) -> list[Record]:
    pictures = _pictures(tree, subject, camera, levels)
    landmarks = _landmarks(tree, subject, levels, bad)
    neutral = next((frame for frame, each in levels.items() if not any(each) and frame in pictures), None)
    if neutral is None and pictures:
        tree.note(f"{_LABELS}/{subject}", "no frame is neutral (all twelve units absent)")
    return [
        Record(
            image=pictures[frame],
            subject=subject,
            sequence=subject,
            frame=frame,
            units=UNITS,
            levels=each,
            neutral=None if neutral is None else pictures[neutral],
            neutral_frame=neutral,
            landmarks=landmarks.get(frame),
        )
        for frame, each in levels.items()
        if frame in pictures
    ]


def _levels(tree: Tree, subject: str) -> dict[int, tuple[int, ...]]:
    """Return frame -> levels in the order of UNITS, for the frames that are in the files of all units."""
    columns = [_column(tree, f"{_LABELS}/{subject}/{subject}_au{unit}.txt") for unit in UNITS]
    if not all(columns):
        return {}
    complete = sorted(set.intersection(*(set(column) for column in columns)))
    if partial := set.union(*(set(column) for column in columns)) - set(complete):
        tree.error(f"{_LABELS}/{subject}", f"not every unit is labelled in frames {ranges(partial)}")
    if gaps := set(range(1, (complete or [0])[-1] + 1)) - set(complete) - partial:
        tree.note(f"{_LABELS}/{subject}", f"no unit is labelled in frames {ranges(gaps)}")
    return {frame: tuple(column[frame] for column in columns) for frame in complete}


def _column(tree: Tree, path: str) -> dict[int, int]:
    levels: dict[int, int] = {}
    lines = tree.lines(path)
    for number, line in lines or ():
        match = _LINE.fullmatch(line)
        if match is None or int(match[2]) > MAX_LEVEL:
            tree.error(path, f"line {number} must be 'frame,level' with a level from 0 to 5, got {line[:40]!r}")
        elif int(match[1]) in levels:
            tree.error(path, f"line {number} labels frame {match[1]} a second time")
        else:
            levels[int(match[1])] = int(match[2])
    if lines == []:
        tree.error(path, "is empty")
    return levels


def _pictures(tree: Tree, subject: str, camera: str, frames: dict[int, tuple[int, ...]]) -> dict[int, str]:
    """Return frame -> path of its picture, or of the video that contains it."""
    folders = [f"Images_{camera}Camera", f"Video_{camera}Camera_frames", f"Videos_{camera}Camera_frames", "Images"]
    parent = next((folder for folder in folders if tree.has_folder(folder)), None)
    if parent is None:
        return _video(tree, subject, camera, frames)
    folder = next((f"{parent}/{name}" for name in tree.folders(parent) if subject in name), None)
    if folder is None:
        tree.error(f"{parent}/{subject}", "there is no folder with the subject's frames")
        return {}
    numbered: dict[int, str] = {}
    for name in tree.files(folder, PICTURES):
        if match := _NUMBER.search(name.rpartition(".")[0]):
            numbered[int(match[1])] = f"{folder}/{name}"
    if 0 in numbered:
        tree.note(folder, "pictures are numbered from 0, labels from 1: picture 0 is taken as frame 1")
        numbered = {number + 1: path for number, path in numbered.items()}
    if lost := set(frames) - set(numbered):
        tree.error(folder, f"{len(lost)} labelled frames have no picture: {ranges(lost)}")
    if extra := set(numbered) - set(frames):
        tree.note(folder, f"{len(extra)} pictures have no label: {ranges(extra)}")
    return numbered


def _video(tree: Tree, subject: str, camera: str, frames: dict[int, tuple[int, ...]]) -> dict[int, str]:
    parent = tree.first_folder([f"Video_{camera}Camera", f"Videos_{camera}Camera"], "frames or videos")
    if parent is None:
        return {}
    video = next((name for name in tree.files(parent, {".avi", ".mp4"}) if subject in name), None)
    if video is None:
        tree.error(parent, f"there is no video of {subject}")
        return {}
    return dict.fromkeys(frames, f"{parent}/{video}")


def _landmarks(tree: Tree, subject: str, frames: dict[int, tuple[int, ...]], bad: frozenset[int]) -> dict[int, str]:
    """Return frame -> path of its landmark file, without the frames listed as bad."""
    folder = _POINTS.format(subject)
    if not tree.has_folder(folder):
        tree.note(folder, "there are no landmarks")
        return {}
    numbered: dict[int, str] = {}
    for name in tree.files(folder, {".mat", ".txt"}):
        if match := _LANDMARKS.fullmatch(name):
            numbered[int(match[1]) + 1] = f"{folder}/{name}"
    if lost := set(frames) - set(numbered):
        tree.note(folder, f"{len(lost)} labelled frames have no landmarks: {ranges(lost)}")
    if bad:
        tree.note(folder, f"the landmarks of frames {ranges(bad)} are listed as bad and not used")
    return {frame: path for frame, path in numbered.items() if frame not in bad}


def _bad_landmarks(tree: Tree) -> dict[str, frozenset[int]]:
    if not tree.has_file(BAD_LANDMARKS):
        tree.note(BAD_LANDMARKS, "there is no list of bad landmarks: all are taken as right")
        return {}
    bad: dict[str, frozenset[int]] = {}
    for number, line in tree.lines(BAD_LANDMARKS) or ():
        match = _BAD.fullmatch(line)
        if match is None:
            tree.error(BAD_LANDMARKS, f"line {number} must be like 'SN002: 800, 3019-3022', got {line[:40]!r}")
            continue
        frames: set[int] = set()
        for first, last in re.findall(r"(\d{1,6})(?:\s*-\s*(\d{1,6}))?", match[2]):
            frames.update(range(int(first), int(last or first) + 1))
        bad[match[1]] = bad.get(match[1], frozenset()) | frames
    return bad
