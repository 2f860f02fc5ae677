"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str, typer.Option("--data", help="synthetic, or a dataset: disfa, disfa+, ck+, raf-db, aff-wild2, own.")
]
Root = Annotated[Path | None, typer.Option(help="Folder of your copy of the dataset.", show_default=False)]
Prepared = Annotated[
    Path | None, typer.Option(help="Output folder of 'reference-models prepare' for it.", show_default=False)
]
FoldNumber = Annotated[int, typer.Option("--fold", min=1, help="Number of the fold.")]
Identities = Annotated[
    int | None,
    typer.Option(min=3, help="Number of synthetic persons; 2,000 by default, 5,000 for tra-net.", show_default=False),
]
Frames = Annotated[
    int, typer.Option(min=1, help="Number of expressive frames, or portraits, of each synthetic person.")
]
Style = Annotated[str, typer.Option(help="Style of synthetic faces: studio, or held-out.")]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache", help="Keep rendered faces in your cache folder for later commands; see the documentation."
    ),
]

# The same options for a trained model; by default the values of its own run.
OwnData = Annotated[
    str | None, typer.Option("--data", help="synthetic, or a dataset; by default that of the model's run.")
]
OwnFold = Annotated[
    int | None, typer.Option("--fold", min=1, help="Number of the fold; by default that of the model's run.")
]
OwnIdentities = Annotated[
    int | None, typer.Option(min=3, help="Number of synthetic persons; by default that of the model's run.")
]
OwnFrames = Annotated[
    int | None,
    typer.Option(min=1, help="Frames, or portraits, of each synthetic person; by default as in the model's run."),
]
OwnStyle = Annotated[
    str | None,
    typer.Option(help="Style of synthetic faces: studio, or held-out; by default that of the model's run."),
]
OwnSeed = Annotated[
    int | None,
    typer.Option("--data-seed", min=0, help="Seed of the synthetic persons; by default that of the model's run."),
]

# Options of various commands.
Scores = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the scores to this JSON file.", show_default=False)
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)]
SelectOnTest = Annotated[
    bool, typer.Option("--select-on-test", help="Choose the best epoch on the test side, as the papers do.")
]
Size = Annotated[
    int | None,
    typer.Option(
        min=16, max=4096, help="Side of the pictures in pixels, instead of the network's.", show_default=False
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of processes; by default the number of processors.", show_default=False),
]
Copy = Annotated[Path, typer.Argument(help="Folder of your copy.", show_default=False)]
TrainedModel = Annotated[
    Path,
    typer.Argument(
        help="A model.safetensors, best.safetensors or last.safetensors that 'train' has written, or the folder of"
        " its run.",
        show_default=False,
    ),
]
Neutral = Annotated[
    Path | None,
    typer.Option(
        help="A photograph of the same person's neutral face, for a network with difference maps.", show_default=False
    ),
]
