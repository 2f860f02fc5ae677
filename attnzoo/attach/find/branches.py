"""Find the end of the residual branch before the addition, where squeeze-and-excitation is placed."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

from torch import nn

from attnzoo.attach.find.candidates import CONTAINERS
from attnzoo.attach.find.probe import Probe, probe
from attnzoo.attach.find.trace import Addition, Trace

_SLOTS = ("se", "attn")
_SHORTCUT = re.compile(r"(^|\.)(\w*downsample|\w*shortcut|\w*skip\w*|identity|residual)(\.|$)")
_PASSED_THROUGH = re.compile(r"Identity|Drop\w*|StochasticDepth")
_GATE = re.compile(r"SqueezeExcit\w*|EffectiveSE\w*|SEModule|SELayer|EcaModule|Eca\w*|SqueezeAndExcitation")


def with_slots(probed: Probe, blocks: Sequence[str]) -> tuple[Probe, list[str]]:
    """Find the blocks that have an empty slot for attention (timm's ``block.se``), by putting an identity into it.

    Returns:
        A probe of a copy with filled slots, which records the tensors that pass through them, and the names of the
        slots that are called (``layer1.0.se``).
    """
    filled = copy.deepcopy(probed.model)
    slots = []
    for name in blocks:
        block = filled.get_submodule(name)
        slot = next((slot for slot in _SLOTS if _is_empty(block, slot)), None)
        if slot is not None:
            setattr(block, slot, nn.Identity())
            slots.append(f"{name}.{slot}")
    if not slots:
        return probed, []
    again = probe(filled, probed.inputs)
    return again, [slot for slot in slots if slot in again.square.calls]


def before_additions(model: nn.Module, trace: Trace, block: str) -> list[str]:
    """Return the last module before each addition in a block, on the side that is not the shortcut.

    Raises:
        ValueError: If the block has no addition, or no operand is the output of a module.
    """
    gates = [
        name for name, module in model.get_submodule(block).named_modules(prefix=block)
        if _GATE.fullmatch(type(module).__name__) and name in trace.calls
    ]  # fmt: skip
    if gates:
        return [gates[-1]]
    additions = [addition for addition in trace.additions if addition.inside == block]
    if not additions:
        additions = [
            addition
            for addition in trace.additions
            if addition.inside.startswith(block + ".")
            and set(addition.operands) & trace.calls[addition.inside][-1].input_idents
        ]
    if not additions:
        raise ValueError("it adds nothing to a shortcut in its forward")
    names = [name for addition in additions for name in _branch_sides(model, trace, block, addition)]
    if not names:
        raise ValueError("what it adds to the shortcut is not what a module returned")
    return list(dict.fromkeys(names))


def _branch_sides(model: nn.Module, trace: Trace, block: str, addition: Addition) -> list[str]:
    """Return the modules that returned the operands, without shortcuts; of two branches, the one with more modules."""
    inside = [name for name in trace.calls if name.startswith(block + ".")]
    shortcuts = trace.calls[addition.inside][-1].input_idents  # what the adding module was given
    operands = [operand for operand in addition.operands if operand not in shortcuts] or addition.operands
    names = [_producer(model, trace, block, inside, operand, addition.order) for operand in operands]
    sides = [name for name in names if name is not None]
    if len(sides) == 2:
        tops = [f"{block}.{name[len(block) + 1 :].split('.')[0]}" for name in sides]
        block_inputs = trace.calls[block][-1].input_idents
        if tops[0] != tops[1] and all(
            top in trace.calls and trace.calls[top][0].input_idents & block_inputs for top in tops
        ):
            lengths = [sum(name.startswith(top) for name in inside) for top in tops]
            return [sides[lengths.index(max(lengths))]]
    return sides


def _producer(model: nn.Module, trace: Trace, block: str, inside: list[str], tensor: int, order: int) -> str | None:
    """Return the outermost module in ``block`` that returned ``tensor`` before ``order`` and is no container.

    Modules that do nothing in evaluation (an identity, a dropout) are returned only if there is no other.
    """
    producers = [
        name
        for name in inside
        if trace.ended(name) < order and [seen.ident for seen in trace.outputs_of(name)] == [tensor]
    ]
    if any(_SHORTCUT.search(name[len(block) :]) for name in producers):
        return None
    producers = [name for name in producers if not isinstance(model.get_submodule(name), CONTAINERS)]
    active = [name for name in producers if not _PASSED_THROUGH.match(type(model.get_submodule(name)).__name__)]
    return min(active or producers, key=lambda name: (name.count("."), -trace.ended(name)), default=None)


def _is_empty(block: nn.Module, slot: str) -> bool:
    missing = object()
    held = getattr(block, slot, missing)
    return held is None or type(held) is nn.Identity
