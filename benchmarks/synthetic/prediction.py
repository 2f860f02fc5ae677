"""Whether ``predict``, an export and a prepared folder give the scores that ``eval`` gives of the same new faces.

    python -m benchmarks.synthetic.prediction RUN... [--faces 200] [--seed 1000] [--json FILE]

Each RUN is the folder of a ``reference-models train`` on synthetic faces. Persons whom it never saw are rendered as
photographs of 224 pixels and written to files. ``eval`` scores them aligned by their exact landmarks; ``predict`` finds
the faces in the files; the export is run by onnxruntime on what ``predict`` finds; ``prepare`` makes frames of the same
files with the same detector, which ``eval`` scores as those of a dataset. The scores are those by which a network's
best epoch is kept: ICC of action units, F1 of expressions.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from attnzoo.files import write_atomically
from reference_models.data.dataset import Batch, FaceDataset
from reference_models.data.synthetic import Shot, plan
from reference_models.faces.face import NoFaceError
from reference_models.papers.claims.conditions import report_metadata
from reference_models.prediction.predict import aligned
from reference_models.prediction.predictor import Predictor, read_predictor
from reference_models.preparation import Item, PreparedPictures, prepare
from reference_models.preparation.preparation import SEARCHES
from reference_models.training.evaluate import scores_of
from reference_models.training.metrics import scores
from reference_models.training.outputs import Outputs
from reference_models.training.rendered import PHOTOGRAPH, RenderedFaces
from reference_models.training.sides import faces
from reference_models.training.trained import Trained, read_model

FRAMES = 4


def compare(run: Path, count: int, seed: int) -> dict[str, Any]:
    """Return a row for a run."""
    trained = read_model(run)
    units = trained.recipe.labels.task == "action units"
    score = "icc" if units else "f1"
    kind = "frames" if units else "portraits"
    shots = plan(kind, identities=-(-count // FRAMES), frames=FRAMES, seed=seed)
    scored = [shot for shot in shots if not units or shot.frame][:count]
    with tempfile.TemporaryDirectory() as folder:
        exported = _export(run, Path(folder))
        found = dict(_found(trained, scored, Path(folder)))
        rows = [shot.record() for shot in scored if shot in found]
        rendered = RenderedFaces(shots, trained.preparation)
        dataset = faces(rows, rendered, trained.recipe)
        evaluated = scores_of(trained.network, trained.recipe, dataset, calibration=trained.calibration)[score]
        row: dict[str, Any] = {
            "network": trained.recipe.name,
            "faces": len(scored),
            "found": len(found),
            "score": score,
            "eval": round(evaluated, 4),
        }
        for name, predictor in (("predict", read_predictor(run)), ("onnx", exported)):
            row[name] = round(_scored(predictor, trained, dataset, [found[s] for s in scored if s in found], score), 4)
        row["prepared"] = round(_prepared(trained, [shot for shot in scored if shot in found], Path(folder))[score], 4)
    return row


def _prepared(trained: Trained, shots: Sequence[Shot], folder: Path) -> dict[str, float]:
    """Return the scores of the frames that ``prepare`` makes of the files, by the detector that ``predict`` uses."""
    rows, items = [], []
    for number, shot in enumerate(shots):
        name, rest = f"photographs/{number}.png", f"photographs/{number}-rest.png"
        _written(shot, folder / name)
        neutral = None
        if trained.preparation.difference:
            _written(shot.neutral, folder / rest)
            neutral = rest
        items.append(Item(name, neutral=neutral))
        rows.append(replace(shot.record(), image=name, neutral=neutral))
    search = SEARCHES[trained.recipe.preparation]
    prepare(folder, folder / "frames", items, trained.preparation, search)
    pictures = PreparedPictures(folder / "frames", trained.preparation)
    dataset = faces([row for row in rows if pictures.has(row)], pictures, trained.recipe)
    return scores_of(trained.network, trained.recipe, dataset, calibration=trained.calibration)


def _export(run: Path, folder: Path) -> Predictor:
    from attnzoo import export_onnx
    from reference_models.export.subject import subject

    made = subject(str(run), None)
    export_onnx(made.network, made.example, folder / "model.onnx", metadata=made.metadata, check=False)
    return read_predictor(folder / "model.onnx")


def _found(trained: Trained, shots: Sequence[Shot], folder: Path) -> Iterator[tuple[Shot, tuple[Any, Any]]]:
    """Yield each shot whose face is found in its file, with the face and its difference."""
    search = SEARCHES[trained.recipe.preparation]
    preparation = trained.preparation
    for number, shot in enumerate(shots):
        try:
            face = aligned(_written(shot, folder / f"{number}.png"), preparation, search)
            levels = None
            if preparation.difference:
                rest = aligned(_written(shot.neutral, folder / f"{number}-rest.png"), preparation, search)
                levels = preparation.levels(rest, face)
        except NoFaceError:
            continue
        yield shot, (face.image, levels)


def _written(shot: Shot, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(shot.take(PHOTOGRAPH).image).save(path)
    return path


def _scored(predictor: Predictor, trained: Trained, dataset: FaceDataset, found: Sequence[Any], score: str) -> float:
    logits = torch.stack([predictor.logits(face, levels) for face, levels in found])
    counted, outputs = scores(trained.recipe.labels), Outputs()
    levels = [dataset.levels(record) for record in dataset.records]
    stacked: Tensor | None = None if levels[0] is None else torch.stack([each for each in levels if each is not None])
    batch = Batch(torch.empty(0), dataset.targets(), stacked, None, None, tuple(dataset.records))
    counted.update(logits, batch)
    values = dict(counted.compute())
    if stacked is not None and predictor.calibration is not None:
        outputs.update(logits, batch.target, stacked)
        values |= predictor.calibration.scores(*outputs.compute())
    return float(values[score])


def main() -> int:
    """Print the rows, and write them if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [compare(run, arguments.faces, arguments.seed) for run in arguments.runs]
    made = report_metadata(f"python -m benchmarks.synthetic.prediction {' '.join(sys.argv[1:])}")
    print(json.dumps(rows, indent=1))
    if arguments.json is not None:
        write_atomically(arguments.json, (json.dumps(made | {"rows": rows}, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
