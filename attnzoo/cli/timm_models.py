"""Create a timm model by its name."""

from __future__ import annotations

import difflib
from typing import Any

from attnzoo.cli.console import fail, first_line


def timm_model(name: str, num_classes: int | None, *, pretrained: bool = False) -> Any:
    """Return the timm model, by default with random weights.

    Raises:
        typer.Exit: If timm has no such model, or cannot create it with that number of classes.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        fail(f"timm has no model {name!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
    try:
        return timm.create_model(
            name, pretrained=pretrained, **({} if num_classes is None else {"num_classes": num_classes})
        )
    except (OSError, RuntimeError, ValueError) as error:  # OSError: weights that cannot be downloaded
        fail(f"timm cannot make {name!r}: {first_line(error)}")
