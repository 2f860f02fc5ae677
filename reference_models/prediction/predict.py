"""Predicts labels of photographs: detects the face, aligns it as in training, and runs the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reference_models.faces.alignment import AlignedFace
from reference_models.faces.face import choose
from reference_models.faces.given import GivenDetector, read_points
from reference_models.faces.images import RGBImage, read_image
from reference_models.prediction.predictor import Predictor
from reference_models.preparation.items import Item, with_points
from reference_models.preparation.preparation import Preparation, Search


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one photograph.

    Attributes:
        path: Path of the photograph.
        face: The network's input, the aligned face (size, size, 3), uint8.
        probabilities: Label to probability, 0 to 1, in the order of the outputs; those of expressions sum to 1.
    """

    path: Path
    face: RGBImage
    probabilities: dict[str, float]


def predict(
    predictor: Predictor,
    photographs: Iterable[Path],
    *,
    neutral: Path | None = None,
    search: Search | None = None,
    landmarks: Path | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for each photograph, for the largest face in it.

    Args:
        predictor: The network, from :func:`~reference_models.prediction.predictor.read_predictor`.
        photographs: Paths of the photographs.
        neutral: Photograph of the same person's neutral face; required if the network takes difference maps, and must
            be None otherwise.
        search: How faces are detected; with dlib by default.
        landmarks: A folder with a landmark file for each photograph, used instead of a detector.

    Raises:
        ImageError: If a photograph cannot be read.
        LandmarkError: If landmarks cannot be read, or do not belong to the photograph.
        NoFaceError: If a photograph shows no face.
        ValueError: If ``neutral`` is missing, or given to a network without maps.
    """
    preparation, search = predictor.preparation, search or Search()
    if (neutral is None) == preparation.difference:
        required = preparation.difference
        what = "given: the network takes difference maps" if required else "left out: the network takes no maps"
        raise ValueError(f"neutral must be {what}")
    neutral_face = None if neutral is None else aligned(neutral, preparation, search, landmarks)
    for path in photographs:
        face = aligned(path, preparation, search, landmarks)
        levels = None if neutral_face is None else preparation.levels(neutral_face, face)
        yield Prediction(path, face.image, predictor.probabilities(face.image, levels))


def aligned(
    path: Path, preparation: Preparation, search: Search | None = None, landmarks: Path | None = None
) -> AlignedFace:
    """Return the aligned face of a photograph; arguments and errors as in :func:`predict`."""
    photograph, search = read_image(path), search or Search()
    if landmarks is not None:
        (item,) = with_points([Item(path.name)], landmarks)
        points = item.points or landmarks
        return preparation.frame(photograph, choose(GivenDetector(read_points(points), str(points)).detect(photograph)))
    if search.detector == "aligned":
        return preparation.framed(photograph, name=str(path))
    return preparation.frame(photograph, choose(search.finder().detect(photograph), name=str(path)))
