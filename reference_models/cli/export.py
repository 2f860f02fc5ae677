"""``reference-models export``: exports a network for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reference_models.cli.console import fail


def export_command(
    model: Annotated[
        str, typer.Argument(help="cednn, dba_net, lla_net, tra_net, or a model.safetensors that 'train' has written.")
    ],
    *,
    to: Annotated[str, typer.Option(help="onnx (for onnxruntime and others), pt2 (torch), aoti (compiled).")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; NETWORK.onnx by default.", show_default=False)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, max=4096, help="Side of the pictures in pixels, instead of the paper's.", show_default=False
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Run the file and compare it with the network.")] = True,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="Largest allowed difference, relative to the larger of 1 and the largest output."),
    ] = 1e-4,
) -> None:
    """Export a network, trained or not, to ONNX or to a program that runs with torch.

    The file's metadata contains the label of each output, the alignment of faces, and the scaling of pixel values. The
    file is run at several batch sizes, and at several image sizes if the network accepts them, and compared with the
    network; it is deleted if the outputs differ.

    Examples:

    reference-models export runs/cednn/model.safetensors -o cednn.onnx

    reference-models export lla_net --to pt2
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo import export_aoti, export_onnx, export_program
    from reference_models.checks import one_of
    from reference_models.extras import require

    formats = {"aoti": (export_aoti, ".pt2"), "onnx": (export_onnx, ".onnx"), "pt2": (export_program, ".pt2")}
    try:
        require("export")
        from reference_models.export.subject import subject

        one_of("--to", to, formats)
        write, suffix = formats[to]
        with Console(stderr=True).status("building the network") as status:
            to_export = subject(model, size)
            status.update(f"exporting to {to}")
            path = output or Path(f"{to_export.recipe.network}{suffix}")
            exported = write(
                to_export.network,
                to_export.example,
                path,
                metadata=to_export.metadata,
                check=check,
                tolerance=tolerance,
            )
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        fail(str(error).strip().splitlines()[0])
    Console().print(exported)
