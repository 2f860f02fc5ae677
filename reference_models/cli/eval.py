"""``reference-models eval``: scores a trained network on persons that it was not trained on."""

from __future__ import annotations

import json

from rich.console import Console

from reference_models.cli.console import fail
from reference_models.cli.options import (
    Cache,
    OwnData,
    OwnFold,
    OwnFrames,
    OwnIdentities,
    OwnSeed,
    OwnStyle,
    Prepared,
    Root,
    Scores,
    TrainedModel,
)
from reference_models.cli.sources import faces_folder, made_sides, own_source, score_table


def eval_command(
    model: TrainedModel,
    *,
    data: OwnData = None,
    root: Root = None,
    prepared: Prepared = None,
    fold: OwnFold = None,
    identities: OwnIdentities = None,
    frames: OwnFrames = None,
    style: OwnStyle = None,
    data_seed: OwnSeed = None,
    cache: Cache = True,
    output: Scores = None,
) -> None:
    """Score a trained network on the test side of a fold.

    By default that is the test side of its own run. Persons that it was trained on, or on whom its best epoch was
    chosen, are never scored: the model file contains hashes of their names.

    Examples:

    reference-models eval runs/cednn/model.safetensors

    reference-models eval runs/cednn/model.safetensors --style held-out -o held-out.json

    reference-models eval runs/cednn/last.safetensors --data-seed 7
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import write_atomically
    from reference_models.data import DataError
    from reference_models.extras import MissingExtraError, require
    from reference_models.preparation.items import PreparationError

    try:
        require("train")
        from reference_models.training.evaluate import evaluate
        from reference_models.training.trained import read_model

        trained = read_model(model)
        options = {
            "data": data, "root": root, "prepared": prepared, "fold": fold, "identities": identities, "frames": frames,
            "style": style, "data_seed": data_seed, "kept": faces_folder(cache),
        }  # fmt: skip
        source = own_source(trained, options)
        if source.data == "synthetic":
            require("train", "synth", "faces")
        scores = evaluate(trained, made_sides(source, trained.recipe))
        if output is not None:
            write_atomically(output, (json.dumps(scores, indent=1) + "\n").encode())
    except (DataError, PreparationError, MissingExtraError, ValueError, TypeError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or output}: {error.strerror or error}" if error.errno else str(error))
    Console().print(score_table(scores))
