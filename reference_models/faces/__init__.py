"""Reads photographs, detects faces and landmarks, aligns faces, and computes difference maps.

Needs the extra ``faces`` (OpenCV, dlib and its models, scikit-image): ``pip install "attnzoo[faces]"``.
"""

from reference_models.faces.alignment import (
    AlignedFace,
    align_chip,
    align_tra_net,
    aligned_already,
    crop,
    square_around,
)
from reference_models.faces.difference import (
    FaceDifference,
    absolute_difference,
    binary_maps,
    difference,
    difference_maps,
    grey_levels,
    mean_variance_map,
)
from reference_models.faces.face import (
    Choice,
    Detector,
    Face,
    NoFaceError,
    SeveralFacesError,
    choose,
    decide,
)
from reference_models.faces.face_mask import face_mask, face_polygon
from reference_models.faces.given import GivenDetector, LandmarkError, read_points
from reference_models.faces.images import ImageError, as_rgb, decode_image, read_image
from reference_models.faces.landmarks import DlibDetector, detect, points_from
from reference_models.faces.mtcnn import MtcnnDetector
from reference_models.faces.point_sets import indices, point, select

__all__ = [
    "AlignedFace",
    "Choice",
    "Detector",
    "DlibDetector",
    "Face",
    "FaceDifference",
    "GivenDetector",
    "ImageError",
    "LandmarkError",
    "MtcnnDetector",
    "NoFaceError",
    "SeveralFacesError",
    "absolute_difference",
    "align_chip",
    "align_tra_net",
    "aligned_already",
    "as_rgb",
    "binary_maps",
    "choose",
    "crop",
    "decide",
    "decode_image",
    "detect",
    "difference",
    "difference_maps",
    "face_mask",
    "face_polygon",
    "grey_levels",
    "indices",
    "mean_variance_map",
    "point",
    "points_from",
    "read_image",
    "read_points",
    "select",
    "square_around",
]
