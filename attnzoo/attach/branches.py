"""The residual branch before the addition: where squeeze-and-excitation belongs."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from attnzoo.attach.candidates import CONTAINERS
from attnzoo.attach.probe import Probe, probe
from attnzoo.attach.trace import Trace

_SLOTS = ("se", "attn")
_SHORTCUT = re.compile(r"(^|\.)(\w*downsample|\w*shortcut|\w*skip\w*|identity|residual)(\.|$)")
_PASSED_THROUGH = re.compile(r"Identity|Drop\w*|StochasticDepth")
_GATE = re.compile(r"SqueezeExcit\w*|EffectiveSE\w*|SEModule|SELayer|EcaModule|Eca\w*|SqueezeAndExcitation")


@dataclass(frozen=True, slots=True)
class Branch:
    """A place inside a residual branch.

    Attributes:
        name: The module after which attention goes.
        slot: The block's attribute to fill, if ``name`` is ``<block>.<slot>``; else None.
    """

    name: str
    slot: str | None = None


def with_slots(probed: Probe, blocks: Sequence[str]) -> tuple[Probe, list[Branch]]:
    """Find the blocks that have an empty slot for attention (timm's ``block.se``), by putting an identity in it.

    Returns:
        A probe of a copy whose slots are filled, so that it shows what runs through them, and the slots that are used.
    """
    filled = copy.deepcopy(probed.model)
    found = []
    for name in blocks:
        block = filled.get_submodule(name)
        slot = next((slot for slot in _SLOTS if _is_empty(block, slot)), None)
        if slot is not None:
            setattr(block, slot, nn.Identity())
            found.append(Branch(f"{name}.{slot}", slot))
    if not found:
        return probed, []
    again = probe(filled, probed.inputs)
    return again, [branch for branch in found if branch.name in again.square.calls]


def before_additions(model: nn.Module, trace: Trace, block: str) -> list[Branch]:
    """Return the last module before each addition in a block, on the side that is not the shortcut.

    Raises:
        ValueError: If there is no addition, or what is added comes from no module.
    """
    gates = [
        name for name, module in model.get_submodule(block).named_modules(prefix=block)
        if _GATE.fullmatch(type(module).__name__) and name in trace.calls
    ]  # fmt: skip
    if gates:
        return [Branch(gates[-1])]
    additions = [addition for addition in trace.additions if addition.inside == block]
    if not additions:
        additions = [
            addition
            for addition in trace.additions
            if addition.inside.startswith(block + ".")
            and set(addition.operands) & trace.calls[addition.inside][-1].took_idents
        ]
    if not additions:
        raise ValueError("it adds nothing to a shortcut in its forward")
    producers = _producers(model, trace, block)
    names = [producers[operand] for addition in additions for operand in addition.operands if operand in producers]
    if not names:
        raise ValueError("what it adds to the shortcut is not what a module returned")
    return [Branch(name) for name in dict.fromkeys(names)]


def _producers(model: nn.Module, trace: Trace, block: str) -> dict[int, str]:
    """By tensor, the outermost module in ``block`` that returned it and does something of its own."""
    producers: dict[int, str] = {}
    inside = [name for name in trace.calls if name.startswith(block + ".")]
    for name in sorted(inside, key=lambda name: (name.count("."), -trace.ended(name))):
        module = model.get_submodule(name)
        gave = trace.gave(name)
        plain = isinstance(module, CONTAINERS) or _PASSED_THROUGH.match(type(module).__name__)
        if len(gave) == 1 and not gave[0].path and not plain and not _SHORTCUT.search(name[len(block) :]):
            producers.setdefault(gave[0].ident, name)
    shortcuts = {trace.gave(name)[0].ident for name in inside if _is_shortcut(trace, name, block)}
    return {ident: name for ident, name in producers.items() if ident not in shortcuts}


def _is_shortcut(trace: Trace, name: str, block: str) -> bool:
    return bool(_SHORTCUT.search(name[len(block) :])) and bool(trace.gave(name))


def _is_empty(block: nn.Module, slot: str) -> bool:
    missing = object()
    held = getattr(block, slot, missing)
    return held is None or type(held) is nn.Identity
