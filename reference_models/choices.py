"""Values that an argument may have and a command offers; this file loads nothing, so that a command's help is quick."""

from __future__ import annotations

from typing import Literal

Network = Literal["tra-net", "lla-net", "cednn", "dba-net"]
"""A network for which faces are prepared."""
Finder = Literal["dlib", "mtcnn", "aligned"]
"""What finds a face; ``aligned`` stands for nothing, as the photographs are aligned frames already."""
Box = Literal["landmarks", "detector"]
"""What a face is cropped by: a square that follows from its landmarks, or the detector's own box."""
Policy = Literal["largest", "raise", "skip"]
"""What to do with several faces: take the largest, call it a failure, or leave the photograph out."""
NoFacePolicy = Literal["raise", "skip"]
"""What to do without a face: call it a failure, or leave the photograph out."""
Side = Literal["action", "neutral"]
"""A photograph of a pair: the face in action, or at rest."""
