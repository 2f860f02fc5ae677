"""Find the ends of stages and blocks from timm's ``feature_info``, class names, and a recorded forward pass."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from torch import nn

from attnzoo.attach.find.families import Family
from attnzoo.attach.find.trace import Trace

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

_BLOCK = re.compile(
    r"(?!SE(Module|Layer|Block)?$|Learnable|SpatialGatingUnit)(?!.*(Stage|Stem|Merg|Downsample|Embed|Head|Pool))"
    r"(.*(Block|Bottleneck|Residual|DepthwiseSeparable|XceptionModule|EncoderLayer|MBConv|Outlooker).*"
    r"|Selective\w+|PreAct\w+|Bottle2neck|\w*Cell\w*|Inception[A-Z]?|Reduction[A-Z]|Mixed\w+|Fire|_?DenseLayer|C2f|Transformer)"
)
_OUTSIDE = re.compile(
    r"(^|\.)(stem\w*|patch_embed\w*|head\w*|classifier|final_conv\w*|last_conv|downsample|global_block|pre_logits|aux\w*"
    r"|cls_\w+|msfa|\w+_token_only|attn_pool|incre_modules|downsamp_modules)(\.|$)"
)
_REJECTED = re.compile(
    r"pool|norm(?!al|free)|permute|flatten|dropout|droppath|identity|classif|rotary|^linear$|^conv\dd$|patchembed|downsample|merging",
    re.IGNORECASE,
)
_POOLING = re.compile(r"pool|permute|flatten|identity|classif|rotary|^linear$", re.IGNORECASE)
_STEM = re.compile(
    r"(^|\.)(stem\w*|conv_stem|patch_embed|conv1|act1?|act0|bn\d?|norm0|relu0?|conv2d_2b|conv0|conv1_1|layer0)($|\.)"
)
_ACTIVATION = re.compile(r"(Re|Ge|Si|Ce|E|Se)LU|ReLU6|Hardswish|Mish|SiLU|GELU")


def pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob over module names: ``*`` matches within one level, ``**`` any number of levels."""
    parts = re.split(r"(\*\*|\*|\?|\[!?[^\]]+\])", glob)
    translated = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    text = "".join(
        translated.get(part)
        or (part.replace("[!", "[^") if part.startswith("[") and part.endswith("]") else re.escape(part))
        for part in parts
    )
    return re.compile(text)


def expand(model: nn.Module, globs: Iterable[str]) -> list[str]:
    """Return the names that match, in the order of the globs; a last part ``-1`` is the container's last child."""
    names = [name for name, _ in model.named_modules() if name and not inside_attached(name)]
    matching: dict[str, None] = {}
    for glob in globs:
        stem, _, last = glob.rpartition(".")
        if last == "-1":
            for name in filter(pattern(stem).fullmatch, names):
                children = list(model.get_submodule(name).named_children())
                if children:
                    matching[f"{name}.{children[-1][0]}"] = None
        else:
            matching.update(dict.fromkeys(filter(pattern(glob).fullmatch, names)))
    return list(matching)


def inside_attached(name: str) -> bool:
    """Tell whether a module name belongs to a previous attachment."""
    return "attnzoo" in name.split(".")


def is_plain(module: nn.Module) -> bool:
    """Tell whether a module is a leaf, a pooling, a normalisation or the like, which is never a stage or a block."""
    return not any(module.children()) or bool(_REJECTED.search(type(module).__name__))


def resolve(
    model: nn.Module, trace: Trace, name: str, *, blocks: Collection[str] = (), containers_only: bool = False
) -> str | None:
    """Return the innermost module that returned the same tensor objects as ``name``; None if nothing was called.

    An attachment there also works if a model iterates over a container's children without calling the container, as
    some do for gradient checkpointing.

    Args:
        model: The model.
        trace: A recorded forward pass.
        name: The module's name.
        blocks: Names at which to stop.
        containers_only: Descend only from ``Sequential``, ``ModuleList`` and ``ModuleDict``.
    """
    while name not in blocks:
        module = model.get_submodule(name)
        container = isinstance(module, CONTAINERS)
        if name in trace.calls and containers_only and not container:
            break
        called = _called_children(model, trace, name)
        if name not in trace.calls:
            if not called or not container:
                return None
            name = max(called, key=trace.ended)
            continue
        mine = {seen.ident for seen in trace.outputs_of(name)}
        same = [
            child
            for child in called
            if len(trace.calls[child]) == 1
            and mine
            and mine == {seen.ident for seen in trace.outputs_of(child)}
            and _may_end(model.get_submodule(child), container=container)
        ]
        if not same:
            break
        name = max(same, key=trace.ended)
    return name


def _may_end(child: nn.Module, *, container: bool) -> bool:
    """Tell whether ``resolve`` may go to this child: to compound modules, and from containers also to activations."""
    return not is_plain(child) or (container and bool(_ACTIVATION.fullmatch(type(child).__name__)))


def stage_names(model: nn.Module, trace: Trace, family: Family, blocks: Sequence[str]) -> list[tuple[str, int | None]]:
    """Return the names of the modules at which stages end, each with its channels from ``feature_info``, or None."""
    names: list[tuple[str, int | None]] = [(name, None) for name in expand(model, family.stages)]
    described = not names
    if described:
        names = _described(model, trace, blocks)
    resolved = [(resolve(model, trace, name, blocks=blocks), channels) for name, channels in names]
    kept = [(name, channels) for name, channels in resolved if name is not None]
    if not kept or any(name.startswith(tuple(f"{block}." for block in blocks)) for name, _ in kept):
        kept = [(name, None) for name in _by_size(trace, blocks)]
    elif described:
        kept = _extended(model, trace, kept, blocks)
    return sorted(dict(kept).items(), key=lambda item: trace.ended(item[0]))


def block_names(model: nn.Module, trace: Trace, family: Family) -> list[str]:
    """Return the outermost residual or transformer blocks, in the order in which they end.

    For a model without any (VGG, AlexNet), return its activations.
    """
    known = [(name, module) for name, module in model.named_modules() if name and not inside_attached(name)]
    names = expand(model, family.blocks) or [
        name
        for name, module in known
        if not isinstance(module, CONTAINERS) and _BLOCK.fullmatch(type(module).__name__) and not _OUTSIDE.search(name)
    ]
    called = [name for name in names if name in trace.calls]
    if not called and not trace.additions:
        called = [
            name
            for name, module in known
            if _ACTIVATION.fullmatch(type(module).__name__)
            and not _OUTSIDE.search(name)
            and len(trace.calls.get(name, ())) == 1
            and all(len(seen.shape) == 4 for seen in trace.outputs_of(name))
        ]
    return sorted(outermost(called), key=trace.ended)


def outermost(names: Sequence[str]) -> list[str]:
    """Return the names without those of modules inside another one of them."""
    chosen = set(names)
    return [name for name in names if not any(name[:dot] in chosen for dot in _dots(name))]


def _dots(name: str) -> list[int]:
    return [position for position, letter in enumerate(name) if letter == "."]


def _called_children(model: nn.Module, trace: Trace, name: str) -> list[str]:
    """Return the children that were called; for a child that was not (a ModuleList), its called children."""
    called: list[str] = []
    for child, _ in model.get_submodule(name).named_children():
        if child != "attnzoo":
            inner = f"{name}.{child}"
            called += [inner] if inner in trace.calls else _called_children(model, trace, inner)
    return called


def _described(model: nn.Module, trace: Trace, blocks: Sequence[str]) -> list[tuple[str, int | None]]:
    """Return the modules of timm's ``feature_info``, without the stem; four of them if all have the same resolution."""
    entries = _feature_info(model)
    known = {name for name, _ in model.named_modules()}
    if not entries or any(entry["module"] not in known for entry in entries):
        return []
    body = [entry for entry in entries if not _STEM.search(entry["module"])]
    if len(body) > 4 and len({entry.get("reduction") for entry in body}) == 1:
        body = [body[len(body) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
    names: list[tuple[str, int | None]] = []
    for entry in body:
        name, channels = entry["module"], entry.get("num_chs")
        outside = is_plain(model.get_submodule(name)) or _OUTSIDE.search(name)
        if blocks and outside and name in trace.calls and name not in blocks:
            earlier = [block for block in blocks if trace.ended(block) <= trace.ended(name)]
            name, channels = (earlier[-1], None) if earlier else (name, channels)
            if not earlier:
                continue
        if _POOLING.search(type(model.get_submodule(name)).__name__):
            continue
        names.append((name, channels))
    return names


def _extended(
    model: nn.Module, trace: Trace, names: list[tuple[str, int | None]], blocks: Sequence[str]
) -> list[tuple[str, int | None]]:
    """Move each stage's end to the last block of the same grid before the next stage, and from containers to blocks."""
    ends = [trace.ended(name) for name, _ in names]
    extended: list[tuple[str, int | None]] = []
    for (name, channels), end in zip(names, ends, strict=True):
        following = min((other for other in ends if other > end), default=None)
        start = max((other for other in ends if other < end), default=0)
        chosen = name
        after = next((other for other, _ in names if trace.ended(other) == following), None)
        goes_on = after is None or _grid_shape(trace, after) != _grid_shape(trace, name)
        for block in blocks:
            later = end < trace.ended(block) and (following is None or trace.ended(block) < following)
            inside = start < trace.ended(block) <= end and isinstance(model.get_submodule(name), CONTAINERS)
            if inside and _shapes(trace, block) == _shapes(trace, name):
                chosen = block
            if later and goes_on and _grid_shape(trace, block) == _grid_shape(trace, name):
                chosen = block
        extended.append((chosen, channels if chosen == name else None))
    return extended


def _shapes(trace: Trace, name: str) -> list[tuple[int, ...]]:
    return [seen.shape for seen in trace.outputs_of(name)]


def _grid_shape(trace: Trace, name: str) -> tuple[int, ...]:
    outputs = trace.outputs_of(name)
    return outputs[0].shape[2:] if outputs else ()


def _feature_info(model: nn.Module) -> list[dict[str, Any]]:
    info = getattr(model, "feature_info", None)
    info = getattr(info, "info", info)
    if not isinstance(info, list) or not all(isinstance(entry, dict) and entry.get("module") for entry in info):
        return []
    return info


def _by_size(trace: Trace, blocks: Sequence[str]) -> list[str]:
    """Return the last block of each resolution; if there is only one, the blocks at quarters of the depth."""
    last = {_grid_shape(trace, name): name for name in blocks if trace.outputs_of(name)}
    if len(last) > 1:
        return list(last.values())
    if len(blocks) <= 4:
        return list(blocks)
    return [blocks[len(blocks) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
