"""Allowed values of arguments and command options; importing this file is fast, so that a command's help is quick."""

from __future__ import annotations

from typing import Literal

Network = Literal["tra-net", "lla-net", "cednn", "dba-net"]
"""A network for which faces are prepared."""
Finder = Literal["dlib", "mtcnn", "aligned"]
"""Face detector; ``aligned`` uses none, for photographs that are aligned already."""
Box = Literal["landmarks", "detector"]
"""Box of a face's crop: a square computed from its landmarks, or the detector's box."""
Policy = Literal["largest", "raise", "skip"]
"""Handling of several faces: take the largest, count it as a failure, or leave the photograph out."""
NoFacePolicy = Literal["raise", "skip"]
"""Handling of a photograph without a face: count it as a failure, or leave it out."""
Side = Literal["action", "neutral"]
"""A photograph of a pair: the face in action, or the neutral face."""
