"""Prepares one photograph: read, decode, detect, align, compute the difference, write."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reference_models.data.video import read_video_frame
from reference_models.extras import load
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.difference import Pixels
from reference_models.faces.face import Choice, Face, NoFaceError, SeveralFacesError, decide
from reference_models.faces.given import GivenDetector, LandmarkError, parse_points
from reference_models.faces.images import ImageError, RGBImage, decode_image
from reference_models.preparation.items import Item, PreparationError, named
from reference_models.preparation.preparation import Preparation, Search, fingerprint, identity
from reference_models.preparation.store import Entry, is_intact, write_result

STAGES = ("read", "decode", "detect", "align", "difference", "write")
MAX_BYTES = 256 * 1024 * 1024
"""Size in bytes of the largest file that is read."""


@dataclass(frozen=True)
class Done:
    """The result of one photograph.

    Attributes:
        entry: Its entry in the manifest.
        kept: Whether the result of an earlier run was still valid and was kept.
        seconds: Time spent in each stage.
    """

    entry: Entry
    kept: bool
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Source:
    """The content of a photograph's file, or the pixels of a video frame, and the content of its landmark file."""

    name: str
    data: bytes | RGBImage
    points: bytes | None
    points_name: str
    box: tuple[int, int, int, int] | None

    def digest(self) -> dict[str, str | None]:
        points = None if self.points is None else hashlib.sha256(self.points).hexdigest()
        image = hashlib.sha256(self.data).hexdigest()  # type: ignore[arg-type]  # numpy's arrays are buffers
        return {"image": image, "points": points, "box": str(self.box)}

    def given(self) -> GivenDetector:
        """Return a detector that returns the landmarks of the file."""
        return GivenDetector(parse_points(self.points or b"", name=self.points_name), self.points_name)

    def image(self) -> RGBImage:
        pixels = decode_image(self.data, name=self.name) if isinstance(self.data, bytes) else self.data
        if self.box is None:
            return pixels
        left, top, right, bottom = (max(0, edge) for edge in self.box)
        cropped = pixels[top:bottom, left:right]
        if cropped.size == 0:
            raise ImageError(f"{self.name}: the box {self.box} lies outside its {pixels.shape[1::-1]} pixels")
        return np.ascontiguousarray(cropped)


@dataclass
class Preparer:
    """Prepares photographs one after the other; every process has one.

    Attributes:
        root: Folder of the photographs.
        out: Folder of the results.
        preparation: Alignment and difference of each face.
        search: How the face is detected.
    """

    root: Path
    out: Path
    preparation: Preparation
    search: Search
    _neutral: tuple[str, AlignedFace | None] = field(default=("", None), init=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._identity = identity(self.preparation, self.search)

    def prepare(self, item: Item, earlier: Entry | None) -> Done:
        """Prepare one photograph, unless the earlier result is intact and has the same inputs.

        Args:
            item: The photograph.
            earlier: Its entry of an earlier run; None if there is none.

        Raises:
            ImageError: If a photograph cannot be read or decoded.
            LandmarkError: If landmarks cannot be read or do not belong to the photograph.
            NoFaceError: If there is no face and ``search.no_face`` is ``raise``.
            SeveralFacesError: If there are several faces and ``search.several`` is ``raise``.
            PreparationError: If the neutral frame cannot be used, or the results' names are too long.
            OutputError: If a result cannot be written.
        """
        self._seconds = dict.fromkeys(STAGES, 0.0)
        with self._stage("read"):
            source = self._read(item.image, item.frame, item.points, item.box)
            neutral = self._read_neutral(item)
            contents = source.digest()
            if neutral is not None:
                contents |= {f"neutral {role}": digest for role, digest in neutral.digest().items()}
            cache = fingerprint(self._identity, contents)
            if earlier is not None and earlier.cache == cache and is_intact(self.out, earlier):
                return Done(earlier, True, self._seconds)
        choice, aligned = self._aligned(source)
        if choice.face is None or aligned is None:
            return Done(Entry(cache, choice.outcome), False, self._seconds)
        levels = None if neutral is None else self._levels(neutral, aligned)
        with self._stage("write"):
            files = {
                f"faces/{item.name}.png": _png(aligned.image),
                f"points/{item.name}.json": _numbers(choice, choice.face, aligned),
            }
            if levels is not None:
                files[f"levels/{item.name}.png"] = _png(levels)
            hashes = {name: write_result(self.out, name, data) for name, data in files.items()}
        return Done(Entry(cache, choice.outcome, hashes), False, self._seconds)

    def _read(
        self,
        image: str,
        frame: int | None,
        points: Path | None,
        box: tuple[int, int, int, int] | None = None,
    ) -> _Source:
        path = self.root / image
        data = _content(path, image, ImageError) if frame is None else read_video_frame(path, frame)
        landmarks = None if points is None else _content(points, str(points), LandmarkError)
        return _Source(named(image, frame), data, landmarks, str(points), box)

    def _aligned(self, source: _Source) -> tuple[Choice, AlignedFace | None]:
        with self._stage("decode"):
            image = source.image()
        if source.points is None and self.search.detector == "aligned":
            with self._stage("align"):
                aligned = self.preparation.framed(image, name=source.name)
            size = float(len(image))
            return Choice(Face((0.0, 0.0, size, size), aligned.points), "one"), aligned
        with self._stage("detect"):
            detector = self.search.finder() if source.points is None else source.given()
            choice = decide(
                detector.detect(image), no_face=self.search.no_face, several=self.search.several, name=source.name
            )
        if choice.face is None:
            return choice, None
        with self._stage("align"):
            return choice, self.preparation.frame(image, choice.face)

    def _read_neutral(self, item: Item) -> _Source | None:
        if item.neutral is None or not self.preparation.difference:
            return None
        try:
            return self._read(item.neutral, item.neutral_frame, item.neutral_points)
        except (ImageError, LandmarkError) as error:
            raise PreparationError(f"its neutral frame: {error}") from error

    def _levels(self, neutral: _Source, aligned: AlignedFace) -> Pixels:
        """Return the grey difference; the last neutral face is cached, because the frames of a sequence share it."""
        key = json.dumps([neutral.name, neutral.digest()])
        if self._neutral[0] != key:
            try:
                self._neutral = (key, self._aligned(neutral)[1])
            except (ImageError, LandmarkError, NoFaceError, SeveralFacesError) as error:
                raise PreparationError(f"its neutral frame: {error}") from error
        neutral_face = self._neutral[1]
        if neutral_face is None:
            raise PreparationError(f"its neutral frame {neutral.name} shows no face, or several")
        with self._stage("difference"):
            return self.preparation.levels(neutral_face, aligned)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start


def _content(path: Path, name: str, error: type[ImageError | LandmarkError]) -> bytes:
    """Return the content of a regular file of at most :data:`MAX_BYTES`."""
    try:
        if not path.stat() or not path.is_file():
            raise error(f"{name} is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as refused:
        raise error(f"{name} cannot be read: {refused.strerror}") from refused
    if len(data) > MAX_BYTES:
        raise error(f"{name} has more than the {MAX_BYTES:,} bytes that are read")
    return data


def _png(pixels: RGBImage | Pixels) -> bytes:
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    _, data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return bytes(data)


def _numbers(choice: Choice, face: Face, aligned: AlignedFace) -> bytes:
    content: dict[str, Any] = {
        "outcome": choice.outcome,
        "box": [float(edge) for edge in face.box],
        "score": face.score,
        "points": aligned.points.tolist(),
        "transform": np.asarray(aligned.transform).tolist(),
        "center_row": aligned.center_row if len(aligned.points) > 5 else None,
    }
    return (json.dumps(content, sort_keys=True) + "\n").encode()
