"""Attach attention layers to an existing model, in place and reversibly: :func:`attach`, :func:`plan`."""

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
"""The types of the argument ``where`` of :func:`attach`."""

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
    """Attach attention layers to an existing model, in place.

    All layers are built and checked before the model is changed: if an error is raised, the model is unchanged. With
    ``init="identity"`` the model's output is the same as before until it is trained. Its modules remain the same
    objects, under the same names. Attach twice, and the second layer's input is the output of the first.

    Args:
        model: Any model that is not compiled or scripted.
        layer: A name of :func:`attnzoo.list_layers` (or ``timm/<name>``), an ``nn.Module`` class, or a callable
            ``(channels, **kwargs) -> nn.Module``. A layer that is not registered is treated as unary.
        where: ``"stage"`` (after each stage), ``"block"`` (after each residual or transformer block), ``"branch"``
            (inside the residual branch, before the addition), a module name, a glob, a ``re.Pattern`` or
            ``"re:<pattern>"``, a callable ``(name, module) -> bool``, a list of names, or of :class:`Site`.
        stages: Only sites of these stages, counted from 1.
        init: ``"identity"``: the layer is blended with the identity by a learnable scalar that starts at 0.
            ``"paper"``: the layer alone.
        previous: For a paired layer, the source of the previous map: ``"input"`` (the input of the site's module),
            ``"first_conv"`` (the output of the first ``nn.Conv2d`` inside it), or the name of a module inside it.
        on_mismatch: For a paired layer, what to do if the two maps differ in shape: ``"skip"`` the site, or
            ``"project"`` the previous map by a learned 1x1 convolution and resize it.
        example_inputs: The arguments with which the model is called to determine shapes: a tensor, a tuple of
            positional arguments, a mapping of keyword arguments, or a tuple and a mapping for both; tensors may lie in
            lists, tuples and mappings. By default an image of a size that the model accepts.
        **layer_kwargs: Options of the layer.

    Returns:
        A handle to the attached layers.

    Raises:
        TypeError: If an argument has the wrong type, or the layer has no such option.
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
    """Return the layers and costs that :func:`attach` would add, with the same arguments and errors.

    The model and torch's random state are unchanged: the layers are built and discarded.

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
    # parameters created in inference mode cannot be trained, and sites are found by gradients
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
