"""Attach any attention to a built model, in place and reversibly: :func:`attach`, :func:`plan`, :class:`Attachment`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from attnzoo import checks
from attnzoo.attach.attachment import Attachment, next_number, require_all_or_none
from attnzoo.attach.attend import Init
from attnzoo.attach.find.inputs import Inputs
from attnzoo.attach.find.search import find_sites
from attnzoo.attach.insert.paired import Mismatch
from attnzoo.attach.insert.prepare import Prepared, prepare
from attnzoo.attach.insert.swap import refusal
from attnzoo.attach.pyramid import PyramidClassifier, with_pyramid_head
from attnzoo.attach.sites import Site, Spot
from attnzoo.attach.source import Source, layer_source
from attnzoo.attach.table import Plan, PlanRow

__all__ = [
    "Attachment",
    "Plan",
    "PlanRow",
    "PyramidClassifier",
    "Site",
    "Spot",
    "attach",
    "plan",
    "with_pyramid_head",
]

Where = str | re.Pattern[str] | Callable[[str, nn.Module], bool] | Sequence[str] | Sequence[Site]
"""What :func:`attach` takes as ``where``."""

_TOO_LATE = frozenset({"OptimizedModule", "DistributedDataParallel", "FullyShardedDataParallel"})


def attach(
    model: nn.Module,
    layer: str | Callable[..., nn.Module],
    where: Where = "stage",
    *,
    stages: Sequence[int] | None = None,
    init: Init = "identity",
    previous: str = "input",
    on_mismatch: Mismatch = "skip",
    example_inputs: Any = None,
    **layer_kwargs: Any,
) -> Attachment:
    """Attach an attention to a built model, in place.

    Everything is planned, made and checked before the model is changed: a failure leaves it as it was. With
    ``init="identity"`` the attached model computes what the bare one does until it is trained. Modules stay the objects
    that they were, under the same names; attach twice, and the second attention sees what the first returns.

    Args:
        model: Any model; a compiled or scripted one is refused.
        layer: A name of :func:`attnzoo.list_layers` (or ``timm/<name>``), an ``nn.Module`` class, or a callable
            ``(channels, **kwargs) -> nn.Module``. What is not registered is taken for unary.
        where: ``"stage"`` (after each stage), ``"block"`` (after each residual or transformer block), ``"branch"``
            (inside the residual branch, before the addition), a module name, a glob, a ``re.Pattern`` or
            ``"re:<pattern>"``, a callable ``(name, module) -> bool``, a list of names, or of :class:`Site`.
        stages: Only sites of these stages, counted from 1.
        init: ``"identity"``: blended by a learnable scalar that starts at 0. ``"paper"``: the layer as it is.
        previous: For a paired layer, where the previous map is from: ``"input"`` (of the site's module),
            ``"first_conv"`` (the output of the first ``nn.Conv2d`` inside it), or the name of a module inside it.
        on_mismatch: For a paired layer, what happens where the two maps differ in shape: ``"skip"`` the site, or
            ``"project"`` the previous map by a learned 1x1 convolution and resize it.
        example_inputs: What the model is called with to find out shapes: a tensor, a tuple of positional arguments, a
            mapping of keyword arguments, or a tuple and a mapping for both; tensors may lie in lists, tuples and
            mappings. By default an image of the size that the model was made for.
        **layer_kwargs: Options of the layer.

    Returns:
        The handle on what was attached.

    Raises:
        TypeError: If an argument has the wrong type, or the layer an unknown option.
        ValueError: If nothing matches, a site cannot be attached to, or the layer does not keep a map's shape.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())
        >>> attachment = attach(model, "se", "1", example_inputs=torch.zeros(1, 3, 8, 8), rd_ratio=1 / 4)
        >>> [name for name, _ in attachment.named_parameters()][:2]
        ['1.attnzoo.0.blend', '1.attnzoo.0.layer.fc1.weight']
    """
    source, prepared = _prepared(model, layer, where, stages, init, previous, on_mismatch, example_inputs, layer_kwargs)
    number = next_number(model)
    with ExitStack() as undo:
        for placement in prepared.placements:
            placement.put(number)
            undo.callback(placement.remove)
        hook = model.register_load_state_dict_pre_hook(require_all_or_none)  # type: ignore[no-untyped-call]
        undo.pop_all()
    return Attachment(model, source, prepared.placements, prepared.plan, hook)


def plan(
    model: nn.Module,
    layer: str | Callable[..., nn.Module],
    where: Where = "stage",
    *,
    stages: Sequence[int] | None = None,
    init: Init = "identity",
    previous: str = "input",
    on_mismatch: Mismatch = "skip",
    example_inputs: Any = None,
    **layer_kwargs: Any,
) -> Plan:
    """Return what :func:`attach` would do, with the same arguments and the same errors, and change nothing.

    The layers are made and thrown away; torch's random state is as it was.

    Returns:
        The table of sites, layouts, parameters, multiply-adds and bytes.
    """
    with torch.random.fork_rng(devices=[]):
        _, prepared = _prepared(model, layer, where, stages, init, previous, on_mismatch, example_inputs, layer_kwargs)
    return prepared.plan


def _prepared(
    model: nn.Module,
    layer: str | Callable[..., nn.Module],
    where: Where,
    stages: Sequence[int] | None,
    init: Init,
    previous: str,
    on_mismatch: Mismatch,
    example_inputs: Any,
    layer_kwargs: dict[str, Any],
) -> tuple[Source, Prepared]:
    _check_model(model)
    checks.one_of("init", init, ("identity", "paper"))
    checks.one_of("on_mismatch", on_mismatch, ("skip", "project"))
    if not isinstance(previous, str):
        raise TypeError(f"previous must be 'input', 'first_conv' or a module's name, got {previous!r}")
    source = layer_source(layer, layer_kwargs)
    _check_kind(source, previous, on_mismatch)
    if source.kind == "guided" and (reason := refusal(model)):
        raise ValueError(f"cannot hand maps to the model: {reason}")
    inputs = None if example_inputs is None else Inputs.of(example_inputs)
    # made inside inference mode, parameters could never be trained, and sites are found by gradients
    with torch.inference_mode(mode=False):
        sites = _sites(model, where, stages, inputs)
        prepared = prepare(
            model, source, sites, init=init, previous=previous, on_mismatch=on_mismatch, example_inputs=inputs
        )
    return source, prepared


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    for module in model.modules():
        kind = type(module).__name__
        if kind in _TOO_LATE or kind.startswith("FSDP"):
            raise ValueError(f"attach before the model is made a {kind}: it has taken note of the parameters already")


def _check_kind(source: Source, previous: str, on_mismatch: str) -> None:
    if source.kind == "pyramid":
        raise ValueError(f"{source.name!r} takes a pyramid of maps: use attnzoo.with_pyramid_head(backbone, ...)")
    if source.kind == "split":
        raise ValueError(
            f"{source.name!r} returns several regions, which no site of a model can take: call it yourself"
        )
    if source.kind != "paired" and (previous, on_mismatch) != ("input", "skip"):
        raise ValueError(f"previous and on_mismatch are for paired layers; {source.name!r} is {source.kind}")


def _sites(model: nn.Module, where: Where, stages: Sequence[int] | None, inputs: Inputs | None) -> Sequence[Site]:
    given = [site for site in where if isinstance(site, Site)] if isinstance(where, list | tuple) else []
    if given:
        wanted = given if stages is None else [site for site in given if site.stage in stages]
        if not wanted:
            raise ValueError(f"stages={tuple(stages or ())} leaves none of the {len(given)} sites given as where")
        return wanted
    return find_sites(model, where, stages=stages, example_inputs=inputs)  # type: ignore[arg-type]
