"""Options that several commands take, spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str, typer.Option("--data", help="synthetic, or a dataset: disfa, disfa+, ck+, raf-db, aff-wild2, own.")
]
Root = Annotated[Path | None, typer.Option(help="Your copy of the dataset.", show_default=False)]
Prepared = Annotated[Path | None, typer.Option(help="What 'reference-models prepare' made of it.", show_default=False)]
FoldNumber = Annotated[int, typer.Option("--fold", min=1, help="Number of the fold.")]
Identities = Annotated[
    int | None,
    typer.Option(min=3, help="Number of synthetic persons; 2,000 by default, 5,000 for tra-net.", show_default=False),
]
Frames = Annotated[int, typer.Option(min=1, help="Expressive frames, or portraits, of each synthetic person.")]
Style = Annotated[str, typer.Option(help="Style of synthetic faces: studio, or held-out.")]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache", help="Keep rendered faces in the user's cache folder for the next command, see the docs."
    ),
]

# The same for a model that is there: what is not given is as its own run had it.
OwnData = Annotated[
    str | None, typer.Option("--data", help="synthetic, or a dataset; the one it was trained on by default.")
]
OwnFold = Annotated[int | None, typer.Option("--fold", min=1, help="Number of the fold; its own by default.")]
OwnIdentities = Annotated[
    int | None, typer.Option(min=3, help="Number of synthetic persons; as many as it was trained with by default.")
]
OwnFrames = Annotated[
    int | None,
    typer.Option(min=1, help="Frames, or portraits, of each synthetic person; as it was trained by default."),
]
OwnStyle = Annotated[
    str | None, typer.Option(help="Style of synthetic faces: studio, or held-out; its own by default.")
]
OwnSeed = Annotated[
    int | None, typer.Option("--data-seed", min=0, help="What synthetic persons are drawn from; its own by default.")
]

# What most commands take.
Scores = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the scores to this JSON file.", show_default=False)
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)]
SelectOnTest = Annotated[
    bool, typer.Option("--select-on-test", help="Choose the best epoch on the test side, as the papers do.")
]
Size = Annotated[
    int | None,
    typer.Option(min=16, max=4096, help="Side of the pictures, instead of the network's.", show_default=False),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; as many as there are processors.", show_default=False)
]
Copy = Annotated[Path, typer.Argument(help="The folder of your copy.", show_default=False)]
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
    typer.Option(help="The same face at rest, for a network with difference maps.", show_default=False),
]
