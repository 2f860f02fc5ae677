"""Parts that list what there is: names of the API, commands, counting conventions, datasets."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import reference_models.data
from attnzoo.costs import CONVENTIONS
from docs.generate.markdown import markdown, table


def api(path: Path, module: str) -> str:
    """Return a mkdocstrings reference for every public name of a module, so that none is without an entry."""
    names = sorted(importlib.import_module(module).__all__, key=str.lower)
    return "\n\n".join(f"::: {_entry(module, name)}" for name in names)


def _entry(module: str, name: str) -> str:
    public = getattr(sys.modules[module], name)
    if f"{module}.{name}" in sys.modules and not inspect.ismodule(public):
        return f"{public.__module__}.{public.__qualname__}"  # a submodule of the same name would be taken for it
    return f"{module}.{name}"


def commands(path: Path, program: str) -> str:
    """Return the table of the commands of ``attnzoo`` or ``reference-models``, each with the first line of its help."""
    app = importlib.import_module(program.replace("-", "_") + ".cli").app
    rows = []
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        rows.append((f"`{program} {name}`", inspect.cleandoc(command.callback.__doc__).split("\n")[0]))
    return table(("command", "what it does"), rows)


def conventions(path: Path) -> str:
    """Return the counting conventions of :func:`attnzoo.cost`."""
    return table(("rule", "what it counts"), CONVENTIONS.items())


def datasets(path: Path) -> str:
    """Return the table of the datasets that can be read."""
    rows = []
    for name in reference_models.data.list_layouts():
        layout = reference_models.data.layout(name)
        labels = "yours" if layout.labels is None else ", ".join(layout.labels.names)
        paper = "-" if layout.paper is None else f"`{layout.paper}`"
        rows.append(
            (f"`{name}`", layout.title, paper, labels, "-" if layout.threshold is None else str(layout.threshold))
        )
    return table(("name", "dataset", "network", "labels", "level"), rows)


def layouts(path: Path) -> str:
    """Return what the reader of each dataset says about it: citation, folders and files, oddities."""
    parts = []
    for name in reference_models.data.list_layouts():
        layout = reference_models.data.layout(name)
        said = []
        for paragraph in inspect.cleandoc(inspect.getmodule(layout.read).__doc__).split("\n\n"):
            is_block = paragraph.startswith("    ")
            said.append(f"```text\n{inspect.cleandoc(paragraph)}\n```" if is_block else markdown(paragraph))
        text = "\n\n".join(line if line.startswith("```") else line.replace("::", ":") for line in said if line != "::")
        parts.append(f"### {layout.title}\n\n{text}")
    return "\n\n".join(parts)
