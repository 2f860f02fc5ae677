"""The file names and label files of synthetic faces in the layouts of datasets, so that the datasets' readers work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reference_models.data import ck_plus, disfa_plus, raf_db
from reference_models.data.synthetic.shots import FRAMES, PORTRAITS, SEQUENCES, Shot

_TRIAL = "A1_Synthetic_TrailNo_1"  # "TrailNo" is as DISFA+ spells it
_TEST_EVERY = 5  # every fifth person is on the test side of RAF-DB's layout
_RAF_CODE = {name: code for code, name in raf_db.CODES.items()}


@dataclass(frozen=True)
class Writing:
    """A layout in which faces can be written.

    Attributes:
        name: Key of the layout, the same as for reading.
        kind: Kind of shots, see :func:`~reference_models.data.synthetic.plan`.
        most: Largest number of persons for which its file names have enough digits.
        size: Default side of its pictures in pixels.
        image: Returns the path of a shot's picture, from the shot and the number of frames.
        landmarks: Returns the path of a shot's landmark file, from the same arguments.
        labels: Returns path and content of the label files, from all shots and the number of frames.
    """

    name: str
    kind: str
    most: int
    size: int
    image: Callable[[Shot, int], str]
    landmarks: Callable[[Shot, int], str]
    labels: Callable[[Iterable[Shot], int], Mapping[str, str]]


def _disfa_image(shot: Shot, _: int) -> str:
    return f"Images/SN{shot.identity + 1:03d}/{_TRIAL}/{shot.frame:03d}.jpg"


def _disfa_landmarks(shot: Shot, _: int) -> str:
    return f"Landmarks/SN{shot.identity + 1:03d}/{_TRIAL}/{shot.frame:03d}.txt"


def _disfa_labels(shots: Iterable[Shot], _: int) -> dict[str, str]:
    lines: dict[str, list[str]] = defaultdict(lambda: ["Frame  Intensity"])
    for shot in shots:
        for unit in disfa_plus.UNITS:
            path = f"Labels/SN{shot.identity + 1:03d}/{_TRIAL}/AU{unit}.txt"
            lines[path].append(f"{shot.frame:03d}.jpg  {shot.levels.get(unit, 0)}")
    return {path: "\n".join(some) + "\n" for path, some in lines.items()}


def _ck_stem(shot: Shot) -> tuple[str, str]:
    subject, session = f"S{shot.identity + 1:03d}", f"{shot.session + 1:03d}"
    return f"{subject}/{session}", f"{subject}_{session}_{shot.frame + 1:08d}"


def _ck_image(shot: Shot, _: int) -> str:
    folder, name = _ck_stem(shot)
    return f"cohn-kanade-images/{folder}/{name}.png"


def _ck_landmarks(shot: Shot, _: int) -> str:
    folder, name = _ck_stem(shot)
    return f"Landmarks/{folder}/{name}_landmarks.txt"


def _ck_labels(shots: Iterable[Shot], frames: int) -> dict[str, str]:
    files = {}
    for shot in shots:
        if shot.frame < frames - 1:
            continue
        folder, name = _ck_stem(shot)
        acting = (f"   {unit:.7e}   {level:.7e}\n" for unit, level in shot.levels.items() if level)
        files[f"FACS/{folder}/{name}_facs.txt"] = "".join(acting)
        if shot.expression is not None:
            files[f"Emotion/{folder}/{name}_emotion.txt"] = f"   {ck_plus.EMOTIONS.index(shot.expression):.7e}\n"
    return files


def _raf_name(shot: Shot, frames: int) -> str:
    block, place = divmod(shot.identity, _TEST_EVERY)
    test = place == _TEST_EVERY - 1
    person = block if test else block * (_TEST_EVERY - 1) + place
    number = person * frames + shot.session + 1
    return f"test_{number:04d}" if test else f"train_{number:05d}"  # as published


def _raf_image(shot: Shot, frames: int) -> str:
    return f"Image/aligned/{_raf_name(shot, frames)}_aligned.jpg"


def _raf_landmarks(shot: Shot, frames: int) -> str:
    return f"Landmarks/{_raf_name(shot, frames)}.txt"


def _raf_labels(shots: Iterable[Shot], frames: int) -> dict[str, str]:
    lines = (f"{_raf_name(shot, frames)}.jpg {_RAF_CODE[str(shot.expression)]}\n" for shot in shots)
    return {"EmoLabel/list_patition_label.txt": "".join(sorted(lines))}


LAYOUTS: Mapping[str, Writing] = MappingProxyType(
    {
        one.name: one
        for one in (
            Writing("disfa+", FRAMES, 9999, 224, _disfa_image, _disfa_landmarks, _disfa_labels),
            Writing("ck+", SEQUENCES, 999, 224, _ck_image, _ck_landmarks, _ck_labels),
            Writing("raf-db", PORTRAITS, 9999, 100, _raf_image, _raf_landmarks, _raf_labels),
        )
    }
)
"""The layouts that can be written, by name."""


def writing(name: str) -> Writing:
    """Return a layout by name; ``disfa-plus`` and ``ck-plus`` are accepted for the names with a plus sign.

    Raises:
        ValueError: If there is no layout of that name.
    """
    key = name.replace("-plus", "+")
    if key not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[key]
