"""Parts on the networks, from their modules, and the papers' figures beside ours."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

import reference_models
from benchmarks import RESULTS
from benchmarks.committed import Results
from benchmarks.tables.ledger import printed
from benchmarks.tables.notes import numbered
from docs.generate.markdown import differences, markdown, table


def networks(path: Path) -> str:
    """Return the table of all networks, with the parameters that each has by default."""
    rows = []
    for name in reference_models.list_models():
        module = inspect.getmodule(reference_models.model_class(name))
        title = inspect.cleandoc(module.__doc__).split("\n\n")[0]
        parts = sorted(
            key for key, value in vars(module).items() if getattr(value, "__module__", "").startswith("attnzoo.layers.")
        )
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in reference_models.create(name).parameters())
        rows.append((f"`{name}`", markdown(title), ", ".join(f"`{part}`" for part in parts), f"{count:,}"))
    return table(("name", "what it is", "built from", "parameters by default"), rows)


def network(path: Path, name: str) -> str:
    """Return what the module of a network says about it: citation, description, differences from the paper."""
    module = inspect.getmodule(reference_models.model_class(name))
    _, *paragraphs = inspect.cleandoc(module.__doc__).split("\n\n")
    described = "\n\n".join(markdown(text) for text in paragraphs if not text.startswith("Differences"))
    return f"{described}\n\nDifferences from the paper: {differences(module)}"


def ledger(path: Path) -> str:
    """Return the papers' figures beside ours, and the reasons why some differ or cannot be compared."""
    figures = Results(RESULTS).need("ledger")["figures"]
    notes = numbered(figure["reason"] for figure in figures)
    verdicts = {True: "agrees", False: "differs", None: "-"}
    rows = [
        (
            figure["network"],
            figure["variant"],
            ", ".join(dict.fromkeys((figure["quantity"], figure["convention"]))),
            printed(figure),
            f"{figure['computed']:,}",
            verdicts[figure["agrees"]] + (f" ({notes[figure['reason']]})" if figure["reason"] else ""),
        )
        for figure in figures
    ]
    explained = "\n".join(f"{number}. {note}" for note, number in notes.items())
    return f"{table(('network', 'variant', 'counted', 'paper', 'ours', 'verdict'), rows)}\n\n{explained}"


def agreement(path: Path) -> str:
    """Return how many of each paper's printed figures ours agree with."""
    record = Results(RESULTS).need("ledger")
    rows = [
        (total["network"], total["source"], f"{total['agree']} of {total['printed']}") for total in record["totals"]
    ]
    return table(("network", "printed in", "agree"), rows)
