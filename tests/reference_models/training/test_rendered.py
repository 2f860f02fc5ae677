"""The faces that training renders are those that ``predict`` cuts out of the files that ``synth`` writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reference_models.data.synthetic import plan
from reference_models.prediction.predict import aligned
from reference_models.preparation import PREPARATIONS, Search
from reference_models.training.rendered import PHOTOGRAPH, RenderedFaces

SHOTS = list(plan("frames", identities=3, frames=2, seed=5))


def difference(tmp_path: Path, network: str, side: int | None) -> float:
    """Return the mean difference in grey levels between rendered faces and those found in files."""
    preparation = replace(PREPARATIONS[network], size=64)
    faces = RenderedFaces(SHOTS, preparation, workers=0, side=side)
    differences = []
    for number, shot in enumerate(SHOTS):
        path = tmp_path / f"{number}.png"
        Image.fromarray(shot.take(PHOTOGRAPH).image).save(path)
        seen = aligned(path, preparation, Search(detector="dlib")).image
        differences.append(np.abs(seen.astype(int) - faces.image(shot.record())).mean())
    return float(np.mean(differences))


@pytest.mark.parametrize("network", ["cednn", "lla-net"])
def test_a_rendered_face_is_that_of_the_file(tmp_path: Path, network: str):
    as_files, small = difference(tmp_path, network, None), difference(tmp_path, network, 96)
    assert as_files < 3
    assert as_files < 0.7 * small
