"""What int8 costs networks trained on synthetic faces: F1 on unseen persons, bytes, time of a face.

    python -m benchmarks.speed.int8 RUNS/cednn/model.safetensors RUNS/lla-net/model.safetensors --kept RUNS/faces

Name models that ``reference-models train`` or ``benchmarks.synthetic.faces networks`` has written; identities and
frames are those that they were trained on, so that the test side is of persons whom they have never seen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, write
from reference_models.export.int8 import Version, quantize
from reference_models.export.subject import Subject, subject
from reference_models.training.sources import Source

RESULT = RESULTS / "int8.json"
SHOWN = {"f1": "F1", "f1_tuned": "F1, thresholds fitted", "icc": "ICC", "accuracy": "accuracy"}
"""Scores to their columns; the second and third are of action units alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--identities", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--faces", type=int, default=128, help="for the calibration")
    parser.add_argument("--kept", type=Path, help="folder of faces that were rendered before, and for those that are")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    environments.restart_in("tuned", "benchmarks.speed.int8")
    torch.set_num_threads(1)
    about = circumstances("benchmarks.speed.int8", threads=1)
    about["versions"] |= {"onnxruntime": metadata.version("onnxruntime")}
    rows: list[dict[str, Any]] = []
    for model in options.models:
        made = subject(str(model), None)
        sides = Source(identities=options.identities, frames=options.frames, kept=options.kept).sides(made.recipe)
        with tempfile.TemporaryDirectory() as folder:
            versions = quantize(made, sides.validation, sides.test, Path(folder, "int8.onnx"), count=options.faces)
        rows += [_row(one, made, len(sides.test)) for one in versions]
    write(options.output, about, rows)


def _row(one: Version, made: Subject, faces: int) -> dict[str, Any]:
    return {
        "network": made.recipe.network,
        "options": json.dumps({"image_size": made.recipe.image_size, **made.recipe.options}),
        "precision": one.name,
        **{column: round(one.scores[name], 4) if name in one.scores else None for name, column in SHOWN.items()},
        "test faces": faces,
        "MB": round(one.size / 1e6, 3),
        "ms a face": round(one.seconds * 1e3, 3),
    }


if __name__ == "__main__":
    main()
