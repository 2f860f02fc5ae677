"""Where stages and blocks end, found in a model's own description and in what a forward pass showed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from attnzoo.attach.families import Family
from attnzoo.attach.trace import Trace

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

_BLOCK = re.compile(
    r"(?!.*(SE|Select|Squeeze|Patch|Stem|Merg|Downsampl|Embed|Head|Pos))"
    r"(.*(Block|Bottleneck|InvertedResidual|DepthwiseSeparable|EdgeResidual|CondConvResidual|UniversalInverted).*|.*EncoderLayer)",
    re.IGNORECASE,
)
_REJECTED = re.compile(r"pool|norm|permute|flatten|dropout|identity|head|classif|posconv|position|rotary|fc$|linear", re.IGNORECASE)
_STEM = re.compile(r"(^|\.)(stem|conv_stem|patch_embed|features\.0|conv1|act\d?|bn\d?|norm\d?|relu)($|\.)")


def pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob over module names: ``*`` is one level's text, ``**`` any number of levels."""
    text = re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
    text = re.sub(r"\\\[(.*?)\\\]", lambda match: f"[{match[1]}]", text)
    return re.compile(text)


def expand(model: nn.Module, globs: Iterable[str]) -> list[str]:
    """Return the names that match, in the order of the globs; a last part ``-1`` is the container's last child."""
    names = [name for name, _ in model.named_modules() if name and not inside_attached(name)]
    found: dict[str, None] = {}
    for glob in globs:
        stem, _, last = glob.rpartition(".")
        if last == "-1":
            for name in filter(pattern(stem).fullmatch, names):
                children = list(model.get_submodule(name).named_children())
                if children:
                    found[f"{name}.{children[-1][0]}"] = None
        else:
            found.update(dict.fromkeys(filter(pattern(glob).fullmatch, names)))
    return list(found)


def inside_attached(name: str) -> bool:
    """Whether a module was added by an earlier attach."""
    return "attnzoo" in name.split(".")


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a leaf, a pooling, a normalisation or the like: never a stage or a block by itself."""
    return not any(module.children()) or bool(_REJECTED.search(type(module).__name__))


def resolve(model: nn.Module, trace: Trace, name: str, *, containers_only: bool = False) -> str | None:
    """Descend while a child returned the very tensors that the module returned; None if nothing was called.

    Attaching to the innermost keeps working where a model iterates a container's children itself.
    """
    while True:
        module = model.get_submodule(name)
        if name in trace.calls and containers_only and not isinstance(module, CONTAINERS):
            return name
        children = [f"{name}.{child}" for child, _ in module.named_children() if child != "attnzoo"]
        called = [child for child in children if child in trace.calls]
        if name not in trace.calls:
            if not called:
                return None
            name = max(called, key=trace.ended)
            continue
        mine = {seen.ident for seen in trace.gave(name)}
        same = [
            child
            for child in called
            if not is_plain(model.get_submodule(child))
            and len(trace.calls[child]) == 1
            and mine
            and mine == {seen.ident for seen in trace.gave(child)}
        ]
        if not same:
            return name
        name = max(same, key=trace.ended)


def stage_names(model: nn.Module, trace: Trace, family: Family) -> list[tuple[str, int | None]]:
    """Return the names at which stages end, each with its channels where the model says them."""
    if family.stages:
        names: list[tuple[str, int | None]] = [(name, None) for name in expand(model, family.stages)]
    else:
        names = _described(model, trace)
    resolved = [(resolve(model, trace, name), channels) for name, channels in names]
    kept = [(name, channels) for name, channels in resolved if name is not None]
    if not kept:
        kept = [(name, None) for name in _by_size(trace, block_names(model, trace, family))]
    kept = _quarters(trace, kept) if not family.stages else kept
    return sorted(dict(kept).items(), key=lambda item: trace.ended(item[0]))


def block_names(model: nn.Module, trace: Trace, family: Family) -> list[str]:
    """Return the residual or transformer blocks, outermost first found, in the order in which they end."""
    if family.blocks:
        names = expand(model, family.blocks)
    else:
        names = [
            name
            for name, module in model.named_modules()
            if name and not isinstance(module, CONTAINERS) and _BLOCK.fullmatch(type(module).__name__)
            and not inside_attached(name)
        ]  # fmt: skip
    called = [name for name in names if name in trace.calls]
    return sorted(outermost(called), key=trace.ended)


def outermost(names: Sequence[str]) -> list[str]:
    """Drop names that lie inside another."""
    chosen = set(names)
    return [name for name in names if not any(name[:dot] in chosen for dot in _dots(name))]


def _dots(name: str) -> list[int]:
    return [position for position, letter in enumerate(name) if letter == "."]


def _described(model: nn.Module, trace: Trace) -> list[tuple[str, int | None]]:
    """The modules of timm's ``feature_info``, without the stem."""
    entries = _feature_info(model)
    known = [entry for entry in entries if _has(model, entry["module"])]
    if len(known) < len(entries):
        return []
    body = [
        entry for entry in known
        if not _STEM.search(entry["module"]) and not is_plain(model.get_submodule(entry["module"]))
    ] or [entry for entry in known if not _STEM.search(entry["module"])]  # fmt: skip
    del trace
    return [(entry["module"], entry.get("num_chs")) for entry in body]


def _feature_info(model: nn.Module) -> list[dict[str, Any]]:
    info = getattr(model, "feature_info", None)
    info = getattr(info, "info", info)
    if not isinstance(info, list) or not all(isinstance(entry, dict) and entry.get("module") for entry in info):
        return []
    return info


def _has(model: nn.Module, name: str) -> bool:
    return any(name == known for known, _ in model.named_modules())


def _by_size(trace: Trace, names: list[str]) -> list[str]:
    """The last block of each resolution."""
    last: dict[tuple[int, ...], str] = {}
    for name in names:
        if gave := trace.gave(name):
            last[gave[0].shape[1:]] = name
    return list(last.values())


def _quarters(trace: Trace, names: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """Of blocks that all keep one shape, those at 1/4, 2/4, 3/4 and 4/4 of the depth; others as they are."""
    shapes = {trace.gave(name)[0].shape for name, _ in names if trace.gave(name)}
    if len(shapes) != 1 or len(names) <= 4:
        return names
    return [names[len(names) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
