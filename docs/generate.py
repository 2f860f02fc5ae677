"""Write the generated parts of README and documentation: tables from the registry, the networks and their results.

A part stands between ``<!-- generated: NAME ARGUMENT -->`` and ``<!-- end -->``; whatever is between is replaced.

    python docs/generate.py            bring every file up to date
    python docs/generate.py --check    change nothing; exit 1 and name the files that are out of date
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import attnzoo
import reference_models
import reference_models.data
import reference_models.faces
import reference_models.preparation
from attnzoo.costs import CONVENTIONS
from reference_models.claims import tables as claim_tables

ROOT = Path(__file__).parents[1]
FILES = ("README.md", "docs/**/*.md", "reference_models/README.md", "benchmarks/README.md")
GOALS = ROOT / "benchmarks/results/goals.json"
"""A file that is generated as a whole, from the other results."""
CHANNELS, SIZE = 192, 28
PYRAMID = ((24, 56), (48, 28), (96, 14), (192, 7))
TAKES = {
    "unary": "`x -> x`",
    "paired": "`(previous, current) -> current`",
    "pyramid": "`[maps] -> vector` or `maps`",
    "guided": "`(x, maps) -> x`",
    "split": "`x -> {region: x}`",
}

_PART = re.compile(
    r"(<!-- generated: (?P<name>[a-z-]+)(?: (?P<argument>\S+))? -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL
)


def files() -> list[Path]:
    """Return the files that may hold generated parts, and the one that is generated, sorted."""
    return sorted({GOALS, *(path for pattern in FILES for path in ROOT.glob(pattern))})


def updated(path: Path) -> str:
    """Return the text that the file ``path`` should have."""
    if path == GOALS:
        return _goals()

    def replace(match: re.Match[str]) -> str:
        arguments = [match["argument"]] if match["argument"] else []
        return f"{match[1]}{PARTS[match['name']](path, *arguments)}\n{match[5]}"

    return _PART.sub(replace, path.read_text())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def recipes(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return the table of the papers' training recipes."""
    from reference_models.training.recipes import RECIPES

    shown = ("network", "image_size", "batch_size", "batches", "epochs", "learning_rate", "momentum", "weight_decay")
    rows = []
    for name, recipe in RECIPES.items():
        values = [getattr(recipe, field) for field in shown]
        schedule = (
            f"{type(recipe.schedule).__name__}({', '.join(f'{k}={v}' for k, v in vars(recipe.schedule).items())})"
        )
        rows.append([f"`{name}`", *("-" if v is None else str(v) for v in values), f"`{schedule}`", recipe.ours or "-"])
    return table(("recipe", *(field.replace("_", " ") for field in shown), "schedule", "not printed"), rows)


def budgets(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return the table of what is changed in the recipes for synthetic faces."""
    from reference_models.training.budgets import SYNTHETIC

    names = list(dict.fromkeys(name for changes in SYNTHETIC.values() for name in changes))
    rows = [
        [f"`{name}`", *(f"`{changes[name]}`" if name in changes else "as printed" for changes in SYNTHETIC.values())]
        for name in names
    ]
    return table(("value", *(f"`{name}`" for name in SYNTHETIC)), rows)


def layers(path: Path) -> str:
    """Return the table of all registered layers, each linked to its page from ``path``."""
    folder = os.path.relpath(ROOT / "docs/layers", path.parent)
    rows = []
    for name in attnzoo.list_layers():
        info = attnzoo.layer_info(name)
        cost = _cost(info)
        rows.append(
            (
                f"[`{name}`]({Path(folder, name).as_posix()}.md)",
                TAKES[info.kind],
                info.summary,
                f"{cost.parameters:,}",
                f"{cost.macs / 1e6:.2f}",
            )
        )
    pyramid = ", ".join(f"{count} x {side} x {side}" for count, side in PYRAMID)
    counted = f"Counted on one map of {CHANNELS} x {SIZE} x {SIZE}; a pyramid has the maps {pyramid}."
    return f"{table(('layer', 'takes', 'what it does', 'parameters', 'M MACs (fvcore)'), rows)}\n\n{counted}"


def layer(path: Path, name: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return the facts about one layer, and its differences from the paper as its module states them."""
    info = attnzoo.layer_info(name)
    cost = _cost(info)
    options = [
        f"`{parameter.name}={_shown(parameter.default)}`"
        for parameter in list(inspect.signature(info.cls).parameters.values())[1:]
        if parameter.name not in {"device", "dtype"}
    ]
    facts = [
        ("class", f"[`attnzoo.{info.cls.__name__}`][attnzoo.{info.cls.__name__}]"),
        ("takes", f"{info.kind}: {TAKES[info.kind]}"),
        ("keeps", ", ".join(sorted(info.keeps)).replace("_", " ")),
        ("options", ", ".join(options)),
        ("counted on", _where(info)),
        ("parameters", f"{cost.parameters:,}"),
        ("MACs (fvcore)", f"{cost.macs:,}"),
    ]
    facts += [(f"except: {check}", reason) for check, reason in sorted(info.exceptions.items())]
    differences = _differences(inspect.getmodule(info.cls))
    return f"{table((f'`{name}`', ''), facts)}\n\n## Differences from the paper\n\n{differences}"


def networks(path: Path) -> str:  # noqa: ARG001 - every part is given its file
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
        rows.append((f"`{name}`", _markdown(title), ", ".join(f"`{part}`" for part in parts), f"{count:,}"))
    return table(("name", "what it is", "built from", "parameters by default"), rows)


def network(path: Path, name: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return what the module of a network says about it: citation, description, differences from the paper."""
    module = inspect.getmodule(reference_models.model_class(name))
    _, *paragraphs = inspect.cleandoc(module.__doc__).split("\n\n")
    described = "\n\n".join(_markdown(text) for text in paragraphs if not text.startswith("Differences"))
    return f"{described}\n\nDifferences from the paper: {_differences(module)}"


def ledger(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return the papers' figures beside ours, and the reasons why some differ or cannot be compared."""
    figures = json.loads((ROOT / "benchmarks/results/ledger.json").read_text())["figures"]
    notes = list(dict.fromkeys(figure["reason"] for figure in figures if figure["reason"]))
    verdicts = {True: "agrees", False: "differs", None: "-"}
    rows = [
        (
            figure["network"],
            figure["variant"],
            ", ".join(dict.fromkeys((figure["quantity"], figure["convention"]))),
            f"{figure['paper']} {figure['unit']}" if figure["paper"] else "-",
            f"{figure['computed']:,}",
            verdicts[figure["agrees"]] + (f" ({notes.index(figure['reason']) + 1})" if figure["reason"] else ""),
        )
        for figure in figures
    ]
    explained = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
    return f"{table(('network', 'variant', 'counted', 'paper', 'ours', 'verdict'), rows)}\n\n{explained}"


def agreement(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return how many of each paper's printed figures ours agree with."""
    record = json.loads((ROOT / "benchmarks/results/ledger.json").read_text())
    rows = [
        (total["network"], total["source"], f"{total['agree']} of {total['printed']}") for total in record["totals"]
    ]
    return table(("network", "printed in", "agree"), rows)


def api(path: Path, module: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return a mkdocstrings reference for every public name of a module, so that none is without an entry."""
    names = sorted(importlib.import_module(module).__all__, key=str.lower)
    return "\n\n".join(f"::: {_entry(module, name)}" for name in names)


def commands(path: Path, program: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return the table of the commands of ``attnzoo`` or ``reference-models``, each with the first line of its help."""
    app = importlib.import_module(program.replace("-", "_") + ".cli").app
    rows = []
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        rows.append((f"`{program} {name}`", inspect.cleandoc(command.callback.__doc__).split("\n")[0]))
    return table(("command", "what it does"), rows)


def conventions(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return the counting conventions of :func:`attnzoo.cost`."""
    return table(("rule", "what it counts"), CONVENTIONS.items())


def results(path: Path, name: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return the table of a committed benchmark result, ``benchmarks/results/<name>.json``, with where it was made."""
    result = json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())
    header = list(result["rows"][0])
    rows = [[_number(row[column]) for column in header] for row in result["rows"]]
    return f"{table(header, rows)}\n\n{_made(result)}"


def speed(path: Path, name: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return a table of how fast networks are, see speed.py, with where it was measured."""
    _goals_module()  # it stands where speed.py can import it
    file, draw = runpy.run_path(str(Path(__file__).with_name("speed.py")))["TABLES"][name]
    measured = ROOT / "benchmarks/results" / f"{file}.json"
    if not measured.exists():
        return f"Not measured yet: `python -m benchmarks.measure_{file}`."
    result = json.loads(measured.read_text())
    header, rows = draw(result["rows"])
    return f"{table(header, rows)}\n\n{_made(result)}"


def claims(path: Path, budget: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return the papers' claims with their verdicts, from a committed sweep of ``reference-models claims``."""
    record = json.loads((ROOT / f"benchmarks/results/claims-{budget}.json").read_text())
    shown = table(claim_tables.CLAIMS_HEADER, map(claim_tables.claim_cells, record["rows"]))
    return f"{shown}\n\n{claim_tables.notes(record)}"


def claim_scores(path: Path, budget: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return the scores of all networks of that sweep."""
    record = json.loads((ROOT / f"benchmarks/results/claims-{budget}.json").read_text())
    shown = table(claim_tables.SCORES_HEADER, map(claim_tables.score_cells, record["scores"]))
    return f"{shown}\n\n{claim_tables.made_with(record)}"


def sweep(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return what became of attaching to every family of models, and under which conditions."""
    result = json.loads((ROOT / "benchmarks/results/attach-sweep.json").read_text())
    totals = [
        (library, f"{total['stage']} of {total['families']}", f"{total['block']} of {total['families']}")
        for library, total in result["summary"].items()
    ]
    rows = []
    for line in result["models"]:
        layout = line.get("layout", {})
        proven = f"{layout['proven']} of {layout['spots']}" if layout else "-"
        outcomes = (_outcome(line, where, result["checks"]) for where in ("stage", "block"))
        rows.append((line["family"], f"`{line['model']}`", *outcomes, proven))
    conditions = result["conditions"]
    made = ", ".join(f"{key} {conditions[key]}" for key in ("python", "torch", "timm", "torchvision", "device"))
    return (
        f"{table(('library', 'families that pass at stages', 'at blocks'), totals)}\n\n"
        f"{table(('family', 'model', 'stage', 'block', 'layouts seen at two aspect ratios'), rows)}\n\n"
        f"`{result['command']}`, commit {conditions['commit'][:10]}, {result['date'][:10]}; {made}."
    )


def datasets(path: Path) -> str:  # noqa: ARG001 - every part is given its file
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


def layouts(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return what the reader of each dataset says about it: citation, folders and files, oddities."""
    parts = []
    for name in reference_models.data.list_layouts():
        layout = reference_models.data.layout(name)
        said = []
        for paragraph in inspect.cleandoc(inspect.getmodule(layout.read).__doc__).split("\n\n"):
            is_block = paragraph.startswith("    ")
            said.append(f"```text\n{inspect.cleandoc(paragraph)}\n```" if is_block else _markdown(paragraph))
        text = "\n\n".join(line if line.startswith("```") else line.replace("::", ":") for line in said if line != "::")
        parts.append(f"### {layout.title}\n\n{text}")
    return "\n\n".join(parts)


def triton(path: Path, name: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return a table of what the Triton kernels move or became, see triton_builds.py."""
    result = json.loads((ROOT / "benchmarks/results/triton-builds.json").read_text())
    tables = runpy.run_path(str(Path(__file__).with_name("triton_builds.py")))["TABLES"]
    header, rows, note = tables[name](result)
    return f"{table(header, rows)}\n\n{note}"


def hardening(path: Path, name: str) -> str:  # noqa: ARG001 - every part is given its file
    """Return a table of what was tried of every layer and reader, see hardening.py."""
    result = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    tables = runpy.run_path(str(Path(__file__).with_name("hardening.py")))["TABLES"]
    header, rows, note = tables[name](result)
    return f"{table(header, rows)}\n\n{note}"


def goals(path: Path) -> str:  # noqa: ARG001 - every part is given its file
    """Return what the operations are held to beside what was measured."""
    rows = json.loads((ROOT / "benchmarks/results/ops-cpu.json").read_text())["rows"]
    verdicts = runpy.run_path(str(ROOT / "benchmarks/ops_goals.py"))["verdicts"]
    found = verdicts(rows)
    shown = (
        (
            v.name,
            v.goal,
            f"{v.measured:.2f}",
            "-" if v.at_floor is None else f"{v.at_floor:.2f}",
            "yes" if v.held else "**no**",
        )
        for v in found
    )
    return table(("what", "goal", "measured", "at the floor", "held"), shown)


PARTS: Mapping[str, Callable[..., str]] = {
    "datasets": datasets,
    "recipes": recipes,
    "budgets": budgets,
    "layouts": layouts,
    "layers": layers,
    "layer": layer,
    "networks": networks,
    "network": network,
    "ledger": ledger,
    "agreement": agreement,
    "claims": claims,
    "claim-scores": claim_scores,
    "commands": commands,
    "api": api,
    "conventions": conventions,
    "results": results,
    "goals": goals,
    "speed": speed,
    "sweep": sweep,
    "triton": triton,
    "hardening": hardening,
}


def _goals() -> str:
    text: str = _goals_module().text()
    return text


def _goals_module() -> Any:
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # benchmarks is not installed
    return importlib.import_module("benchmarks.goals")


def _made(result: Mapping[str, Any]) -> str:
    """Return where a result was made: command, commit, machine with the environment that was measured in, versions."""
    made = ", ".join(f"{key} {_condition(value)}" for key, value in {**result["machine"], **result["versions"]}.items())
    return f"`{result['command'].strip()}`, commit {result['commit']}; {made}."


def _condition(value: Any) -> str:
    """Return one of the conditions; variables of an environment as a shell sets them."""
    if not isinstance(value, Mapping):
        return str(value)
    parts = (f"{k} ({_condition(v)})" if isinstance(v, Mapping) else f"{k}={v}" for k, v in value.items())
    return " ".join(parts) or "none"


def _outcome(line: Mapping[str, Any], where: str, checks: Sequence[str]) -> str:
    """Return how many sites a family has, or what failed there."""
    if "error" in line:
        return str(line["error"])
    if where in line.get("refused", {}):
        return f"refused: {line['refused'][where]}"
    layers = line["results"][where]
    failed = [f"{layer}: {check}" for layer, outcome in layers.items() for check in checks if not outcome.get(check)]
    return "failed: " + ", ".join(failed) if failed else f"{next(iter(layers.values()))['sites']} sites"


def _entry(module: str, name: str) -> str:
    public = getattr(sys.modules[module], name)
    if f"{module}.{name}" in sys.modules and not inspect.ismodule(public):
        return f"{public.__module__}.{public.__qualname__}"  # a submodule of the same name would be taken for it
    return f"{module}.{name}"


def _cost(info: attnzoo.LayerInfo) -> attnzoo.Cost:
    pyramid = info.kind == "pyramid"
    made = attnzoo.create(info.name, [count for count, _ in PYRAMID] if pyramid else CHANNELS, **info.example)
    x = torch.zeros(1, CHANNELS, SIZE, SIZE)
    inputs: tuple[Any, ...] = (x,)
    if info.kind == "paired":
        inputs = (x, x)
    elif info.kind == "guided":
        inputs = (x, torch.zeros(1, made.num_maps, SIZE, SIZE))
    elif pyramid:
        inputs = ([torch.zeros(1, count, side, side) for count, side in PYRAMID],)
    return attnzoo.cost(made, *inputs)


def _where(info: attnzoo.LayerInfo) -> str:
    options = "".join(f", {key}={_shown(value)}" for key, value in info.example.items())
    if info.kind == "pyramid":
        return f"maps of {', '.join(f'{count} x {side} x {side}' for count, side in PYRAMID)}{options}"
    return f"a map of {CHANNELS} x {SIZE} x {SIZE}{options}"


def _shown(value: Any) -> str:
    if isinstance(value, float) and 0 < value < 1 and (1 / value).is_integer():
        return f"1 / {round(1 / value)}"
    if isinstance(value, Mapping):
        return repr(dict(value))
    return value.__name__ if isinstance(value, type) else repr(value)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_number, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _differences(module: Any) -> str:
    text = inspect.cleandoc(module.__doc__)
    (found,) = re.findall(r"^Differences from the paper: (.*?)(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return _markdown(found[0].upper() + found[1:])


def _markdown(text: str) -> str:
    """Return reStructuredText as used in the docstrings, as Markdown on one line."""
    text = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())


def main(arguments: Sequence[str]) -> int:
    """Run the command line above."""
    check = list(arguments) == ["--check"]
    if arguments and not check:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = [path for path in files() if updated(path) != path.read_text()]
    for path in stale:
        if not check:
            path.write_text(updated(path))
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}\n")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
