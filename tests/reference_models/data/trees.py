"""Small copies of the datasets in their official layouts, with the real syntax of their annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
DISFA_SUBJECTS = [f"SN{n:03d}" for n in [*range(1, 14), 16, 17, 18, 21, *range(23, 33)]]


def picture(path: Path, shade: int = 99, size: tuple[int, int] = (12, 8)) -> Path:
    """Write a picture of one shade; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade // 2, 255 - shade)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def disfa_level(subject: str, unit: int, frame: int) -> int:
    """Frame 1 has levels, frame 2 is neutral, later ones vary."""
    return 0 if frame == 2 else (int(subject[2:]) + unit + frame) % 6


def disfa(root: Path, frames: int = 4, subjects: list[str] | None = None) -> Path:
    for subject in subjects or DISFA_SUBJECTS:
        for unit in DISFA_UNITS:
            lines = [f"{frame},{disfa_level(subject, unit, frame)}" for frame in range(1, frames + 1)]
            text(root / f"ActionUnit_Labels/{subject}/{subject}_au{unit}.txt", "\r\n".join(lines) + "\r\n")
        for frame in range(1, frames + 1):
            picture(root / f"Images_RightCamera/{subject}/{frame:05d}.png", shade=10 * frame)
            name = f"l{frame - 1:05d}_lm.mat" if subject == "SN031" else f"{subject}_{frame - 1:04d}_lm.mat"
            path = root / f"Landmark_Points/{subject}/tmp_frame_lm/{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            savemat(path, {"pts": np.full((66, 2), float(frame)) + np.arange(66)[:, None]})
    text(root / "bad_landmarks.txt", "SN002: 1, 3-4\nSN010 2\n")
    return root


CK_FACS = {"S005/001": [(9, 4), (17, 0), (25, 2)], "S010/002": [(1, 3), (2, 3)], "S010/004": [], "S999/003": None}
CK_EMOTION = {"S005/001": 3, "S010/002": None, "S010/004": 0, "S999/003": 7}


def scientific(number: float) -> str:
    return f"   {number:.7e}"


def ck_plus(root: Path, frames: int = 3) -> Path:
    """Four sequences of three subjects: with both labels, without emotion, with an empty FACS file, without FACS."""
    for sequence, facs in CK_FACS.items():
        stem = sequence.replace("/", "_")
        for frame in range(1, frames + 1):
            picture(root / f"cohn-kanade-images/{sequence}/{stem}_{frame:08d}.png", shade=20 * frame)
            points = "\n".join(scientific(10 * frame) + scientific(point) for point in range(68))
            text(root / f"Landmarks/{sequence}/{stem}_{frame:08d}_landmarks.txt", points + "\n")
        (root / f"cohn-kanade-images/{sequence}/.DS_Store").write_bytes(b"\0")
        peak = f"{stem}_{frames:08d}"
        if facs is not None:
            content = "".join(f"{scientific(unit)}{scientific(level)}\n" for unit, level in facs)
            text(root / f"FACS/{sequence}/{peak}_facs.txt", content)
        (root / f"Emotion/{sequence}").mkdir(parents=True)
        if CK_EMOTION[sequence] is not None:
            text(root / f"Emotion/{sequence}/{peak}_emotion.txt", f"{scientific(CK_EMOTION[sequence])}\n")
    return root


DISFA_PLUS_SUBJECTS = ["SN001", "SN003", "SN004", "SN007", "SN009", "SN010", "SN013", "SN025", "SN027"]
DISFA_PLUS_TRIALS = ["A1_AU1_TrailNo_1", "Y_HappyDescribed_TrailNo_2"]


def disfa_plus_level(subject: str, unit: int, frame: int) -> int:
    """Every trial begins and ends with a neutral face."""
    return (0, (int(subject[2:]) + unit) % 5 + 1, 0)[frame]


def disfa_plus(root: Path) -> Path:
    for subject in DISFA_PLUS_SUBJECTS:
        for trial in DISFA_PLUS_TRIALS:
            for unit in DISFA_UNITS:
                rows = [f"{frame:03d}.jpg          {disfa_plus_level(subject, unit, frame)}" for frame in range(3)]
                header = f"{subject}/{trial} AU{unit}\nImage Name      Intensity\n"
                text(root / f"Labels/{subject}/{trial}/AU{unit}.txt", header + "\n".join(rows) + "\n")
            for frame in range(3):
                picture(root / f"Images/{subject}/{trial}/{frame:03d}.jpg")
    return root


RAF_LABELS = {"train_00001": 5, "train_00002": 1, "train_00003": 7, "test_0001": 6, "test_0002": 2}


def raf_db(root: Path) -> Path:
    lines = []
    for stem, label in RAF_LABELS.items():
        lines.append(f"{stem}.jpg {label}")
        picture(root / f"basic/Image/aligned/{stem}_aligned.jpg", size=(100, 100))
        picture(root / f"basic/Image/original/{stem}.jpg", size=(160, 120))
    text(root / "basic/EmoLabel/list_patition_label.txt", "\n".join(lines) + "\n")
    return root


AFF_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
AFF_TRAINING = {"1-30-1280x720": [0, 0, -1, 4, 4, 1], "6-30-1920x1080_left": [2, 3, 5, 6]}


def aff_wild2(root: Path) -> Path:
    """Two training videos, one with frame 5 missing, and one for validation."""
    sets = {"Training_Set": AFF_TRAINING, "Validation_Set": {"9-15-1920x1080": [0, 1]}}
    for folder, videos in sets.items():
        for video, codes in videos.items():
            lines = [AFF_HEADER, *map(str, codes)]
            text(root / f"annotations/EXPR_Set/{folder}/{video}.txt", "\n".join(lines) + "\n")
            for frame in range(1, len(codes) + 1):
                if (video, frame) != ("1-30-1280x720", 5):
                    picture(root / f"cropped_aligned/{video}/{frame:05d}.jpg", size=(112, 112))
    return root


AFFECT_COLUMNS = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


def affect_row(path: str, code: int, box: str = "2,1,6,5") -> str:
    landmarks = ";".join(f"{n}.{n}" for n in range(136))
    return f"{path},{box},{landmarks},{code},0.5,-0.25"


def affect_net(root: Path) -> Path:
    training = [affect_row("1/a.jpg", 6), affect_row("1/b.JPG", 10), affect_row("2/c.png", 5), affect_row("2/d.jpg", 7)]
    lists = root / "Manually_Annotated_file_lists"
    text(lists / "training.csv", "\n".join([AFFECT_COLUMNS, *training]) + "\n")
    text(lists / "validation.csv", affect_row("3/e.jpg", 4) + "\n")
    for name in ("1/a.jpg", "1/b.JPG", "2/c.png", "2/d.jpg", "3/e.jpg"):
        picture(root / f"Manually_Annotated_Images/{name}")
    return root
