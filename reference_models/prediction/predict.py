"""A photograph, its face found and aligned as the network was trained, and what the network says of it."""

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
    """What was said of one photograph.

    Attributes:
        path: Of the photograph.
        face: What the network saw, (size, size, 3) uint8.
        probabilities: Label to probability, 0 to 1, in the order of the outputs; those of expressions add up to 1.
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
    """Yield a prediction for each photograph; of several faces in it the largest is meant.

    Args:
        predictor: The network, as :func:`~reference_models.prediction.predictor.read_predictor` returns it.
        photographs: Their paths.
        neutral: A photograph of the same face at rest; needed exactly if the network takes difference maps.
        search: How faces are found; by dlib by default.
        landmarks: A folder with a landmark file for each photograph, instead of a detector.

    Raises:
        ImageError: If a photograph cannot be read.
        LandmarkError: If landmarks cannot be read, or do not belong to the photograph.
        NoFaceError: If there is no face in one.
        ValueError: If ``neutral`` is missing, or not wanted.
    """
    preparation, search = predictor.preparation, search or Search()
    if (neutral is None) == preparation.difference:
        wanted = preparation.difference
        what = "given: the network takes difference maps" if wanted else "left out: the network takes no maps"
        raise ValueError(f"neutral must be {what}")
    at_rest = None if neutral is None else aligned(neutral, preparation, search, landmarks)
    for path in photographs:
        face = aligned(path, preparation, search, landmarks)
        levels = None if at_rest is None else preparation.levels(at_rest, face)
        yield Prediction(path, face.image, predictor.probabilities(face.image, levels))


def aligned(
    path: Path, preparation: Preparation, search: Search | None = None, landmarks: Path | None = None
) -> AlignedFace:
    """Return the face of a photograph as a network sees it; arguments and errors as of :func:`predict`."""
    photograph, search = read_image(path), search or Search()
    if landmarks is not None:
        (item,) = with_points([Item(path.name)], landmarks)
        points = item.points or landmarks
        return preparation.frame(photograph, choose(GivenDetector(read_points(points), str(points)).detect(photograph)))
    if search.detector == "aligned":
        return preparation.framed(photograph, name=str(path))
    return preparation.frame(photograph, choose(search.finder().detect(photograph), name=str(path)))
