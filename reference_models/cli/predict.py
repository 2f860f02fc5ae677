"""``reference-models predict``: predicts action units or expressions of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reference_models.choices import Finder
from reference_models.cli.console import fail
from reference_models.cli.options import Neutral

Photographs = Annotated[list[Path], typer.Argument(help="Photographs with a face.", show_default=False)]
Model = Annotated[
    Path,
    typer.Option(
        help="A model.safetensors, best.safetensors or last.safetensors that 'train' has written, the folder of its"
        " run, or an .onnx file that 'export' or 'quantize' has written.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write a .csv, .json or .png file.", show_default=False)
]
Detector = Annotated[
    Finder,
    typer.Option(help="Face detector: dlib, mtcnn, or aligned for photographs that are aligned already."),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(help="A folder with a landmark file for each photograph, instead of a detector.", show_default=False),
]


def predict_command(
    images: Photographs,
    *,
    model: Model,
    output: Output = None,
    neutral: Neutral = None,
    detector: Detector = "dlib",
    landmarks: Landmarks = None,
) -> None:
    """Predict the action units or the expression in photographs with a trained network.

    The face is aligned as in training, with every detector. Predictions are only as good as the training: a network
    trained on synthetic faces has seen no photograph. dlib's 68-point model was trained on iBUG 300-W, whose terms
    exclude commercial use.

    Examples:

    reference-models predict smile.jpg --neutral rest.jpg --model runs/cednn/model.safetensors -o smile.png

    reference-models predict *.jpg --model runs/lla/model.safetensors -o expressions.csv
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import OutputError, check_writable, write_output
    from reference_models.checks import one_of
    from reference_models.extras import MissingExtraError, require
    from reference_models.faces.images import ImageError
    from reference_models.faces.landmarks import NoFaceError

    try:
        require("faces", *(("export",) if model.suffix == ".onnx" else ()))
        from reference_models.prediction.files import FORMATS
        from reference_models.prediction.predict import predict
        from reference_models.prediction.predictor import read_predictor
        from reference_models.preparation.preparation import Search

        if output is not None:
            one_of("--output's suffix", output.suffix, FORMATS)
            check_writable(output, output.suffix)
        search = Search(detector=detector)
        predictor = read_predictor(model)
        predictions = list(predict(predictor, images, neutral=neutral, search=search, landmarks=landmarks))
        if output is not None:
            write_output(output, FORMATS[output.suffix](predictions))
    except (ImageError, NoFaceError, OutputError, MissingExtraError, OSError, ValueError) as error:
        fail(str(error))
    table = Table("image", "most probable first", box=box.SIMPLE_HEAD)
    for one in predictions:
        ranked = sorted(one.probabilities.items(), key=lambda item: -item[1])
        table.add_row(escape(one.path.name), ", ".join(f"{name} {value:.2f}" for name, value in ranked))
    Console().print(table)
