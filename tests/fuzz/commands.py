"""Both programs called with arguments of every kind, in this process; what would take long is kept from starting."""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import huggingface_hub.constants
import typer
from hypothesis import strategies as st
from typer.testing import CliRunner

import attnzoo.cli
import reference_models.cli
from tests.fuzz.mutations import ODD_VALUES

huggingface_hub.constants.HF_HUB_OFFLINE = True  # --pretrained must fail at once, not after its retries
EXIT_CODES = {0, 1, 2}
"""All is well; something in the data is wrong; the input was wrong."""
PROGRAMS = MappingProxyType({"attnzoo": attnzoo.cli.app, "reference-models": reference_models.cli.app})


def _name(command: Any) -> str:
    return command.name or command.callback.__name__.replace("_", "-")


COMMANDS = MappingProxyType(
    {(program, _name(one)): one.callback for program, app in PROGRAMS.items() for one in app.registered_commands}
)

_TEXTS = st.one_of(
    st.sampled_from(
        (
            *("cbam", "se", "llam", "dba", "difference_gate", "timm/eca", "timm/", "timm/*", "unary", "disfa", "own"),
            *(
                "raf-db",
                "tra-net",
                "lla-net",
                "studio",
                "held-out",
                "stage",
                "block",
                "branch",
                "layer1*",
                "re:(",
                "[/]",
            ),
            *(
                "re:" + "(" * 200,
                "re:.*",
                "[",
                "*",
                "1,2",
                "3",
                "a,b",
                ",",
                "-1",
                "nan",
                "inf",
                "1e9",
                "NAME=",
                "=",
                "",
            ),
            *("rd_ratio=0.5", "rd_ratio=x", "bias=None", "kernel_size=4", "epochs=1e9", "options.width=0", "labels=3"),
            *("x=" + "[" * 500, "x={1:", "image_size=" + "9" * 40, "first", "dataset", "--", "-o", "[red]", ""),
        )
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12),
    st.sampled_from([str(value) for value in ODD_VALUES if "\0" not in str(value) and "\ud800" not in str(value)]),
)
_NUMBERS = st.sampled_from(("0", "1", "2", "3", "16", "17", "33", "64", "-1", "x", "", "1.5", "9" * 30, "4097", "nan"))
_FLOATS = st.sampled_from(("0", "0.5", "-1", "nan", "inf", "1e400", "x", "3"))
_MODELS = st.sampled_from(("test_resnet", "test_vit", "test_byobnet", "resnet", "", "../x", "test_resnet.r160_in1k"))
_NO_FILE = st.sampled_from(("none/x.onnx", "none/x.pt2", "folder", "x.png", "", "x" * 300 + ".onnx"))
# What a command must be given so that it ends at once, whatever else it is given.
_SHORT: Mapping[str, Mapping[str, st.SearchStrategy]] = {
    "attnzoo cost": {"model": _MODELS},
    "attnzoo attach": {"model": _MODELS},
    "attnzoo look": {"model": _MODELS},
    "attnzoo export": {"model": _MODELS, "output": _NO_FILE},
    "reference-models export": {"output": _NO_FILE},
    "reference-models demo": {"image": st.sampled_from(("none.png", "text.png", "folder", "tiny.png", ""))},
    "reference-models ledger": {"json_path": st.sampled_from(("none/x.json", "text.png/x.json", "none/../y"))},
    "reference-models synth": {
        "identities": st.sampled_from(("0", "-1", "1", "x")),
        "frames": st.sampled_from(("0", "1", "x")),
        "size": st.sampled_from(("15", "16", "4097", "x")),
        "workers": st.sampled_from(("0", "1", "x")),
    },
    "reference-models train": {
        "data": st.sampled_from(("own", "raf-db", "none", "", "disfa")),
        "recipe": st.sampled_from(("lla-net", "lla-net", "cednn-ck-plus", "none", "")),
        "width": st.sampled_from(("0", "2", "18", "x")),
    },
    "reference-models claims": {"only": st.sampled_from(("none", "", "[", "tra-net/none"))},
    "reference-models eval": {"data": st.sampled_from(("own", "none", "disfa"))},
    "reference-models prepare": {"workers": st.sampled_from(("0", "1", "x")), "dataset": _TEXTS},
}


def paths(folder: Path) -> list[str]:
    """Write files of many kinds into a folder, and return the paths that commands are given."""
    from PIL import Image

    Image.new("RGB", (9, 7), (200, 10, 30)).save(folder / "tiny.png")
    (folder / "text.png").write_text("no picture")
    (folder / "weights.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (folder / "points.txt").write_text("1 2\n" * 68)
    for name in ("folder", "photographs"):
        (folder / name).mkdir()
    (folder / "photographs/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "photographs/records.jsonl").write_text("{}\n")
    names = ("tiny.png", "text.png", "weights.safetensors", "points.txt", "folder", "photographs", "none.png")
    return [*names, "out.png", "out.json", "out", "none/x.png", ".", "", "/dev/null", "x" * 300, "[bold].png", "ü.csv"]


def call(data: st.DataObject, program: str, name: str, folder: Path, known: list[str]) -> int:
    """Call a command; return 1, for one call.

    Raises:
        AssertionError: If it ended in anything but an exit code that is documented.
    """
    callback = COMMANDS[program, name]
    short = _SHORT.get(f"{program} {name}", {})
    arguments: list[str] = []
    for key, hint in typing.get_type_hints(callback, include_extras=True).items():
        if key == "return":
            continue
        kind, info = typing.get_args(hint)
        needed = isinstance(info, typer.models.ArgumentInfo) or not _has_default(callback, key)
        if key in short or needed or data.draw(st.integers(0, 3)) == 0:
            arguments += _drawn(data, key, kind, info, short.get(key), known)
    if data.draw(st.integers(0, 19)) == 0:
        arguments.append(data.draw(st.sampled_from(("--nonsense", "-x", "--help", "more", "--=", "-"))))
    before = Path.cwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(PROGRAMS[program], [name, *arguments], env={"COLUMNS": "80"})
    finally:
        os.chdir(before)
    wrong = result.exception is not None and not isinstance(result.exception, SystemExit)
    if wrong or result.exit_code not in EXIT_CODES:
        raise AssertionError(f"{program} {name} {arguments}: {result.exception!r}, exit {result.exit_code}") from (
            result.exception if wrong else None
        )
    return 1


def _has_default(callback: Any, key: str) -> bool:
    return inspect.signature(callback).parameters[key].default is not inspect.Parameter.empty


def _drawn(
    data: st.DataObject, key: str, kind: Any, info: Any, strategy: st.SearchStrategy | None, known: list[str]
) -> list[str]:
    """Return a parameter with a value, as one writes it."""
    kinds = {kind, *typing.get_args(kind), *(each for one in typing.get_args(kind) for each in typing.get_args(one))}
    flag = (info.param_decls or (f"--{key.replace('_', '-')}",))[0]
    if bool in kinds:
        return [flag]
    if strategy is None:
        allowed = [one for one in kinds if isinstance(one, str)]  # those of a Literal
        strategy = next((found for each, found in _by_type(known).items() if each in kinds), _TEXTS)
        strategy = st.one_of(st.sampled_from(allowed), _TEXTS) if allowed else strategy
    value = str(data.draw(strategy))
    if isinstance(info, typer.models.ArgumentInfo):
        return [value]
    return [f"{flag}={value}"] if flag.startswith("--") else [flag, value]


def _by_type(known: list[str]) -> Mapping[type, st.SearchStrategy]:
    return {int: _NUMBERS, float: _FLOATS, Path: st.sampled_from(known)}
