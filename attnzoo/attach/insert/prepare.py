"""Check the sites and build all layers of an attachment, before the model is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from attnzoo.attach.attend import Init
from attnzoo.attach.context import new_key
from attnzoo.attach.find.inputs import Inputs
from attnzoo.attach.find.probe import probe
from attnzoo.attach.insert.construct import AtSite, Built, build
from attnzoo.attach.insert.paired import Mismatch, observed_shape, previous_module, previous_spot
from attnzoo.attach.insert.placement import Placement, slot_refusal
from attnzoo.attach.insert.stack import CHILD, Role
from attnzoo.attach.insert.swap import original_class, refusal
from attnzoo.attach.sites import Site, Spot
from attnzoo.attach.source import Source
from attnzoo.attach.table import Plan, PlanRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A checked attachment, ready to be put into the model."""

    placements: tuple[Placement, ...]
    plan: Plan


def prepare(
    model: nn.Module,
    source: Source,
    sites: Sequence[Site],
    *,
    init: Init,
    previous: str,
    on_mismatch: Mismatch,
    example_inputs: Inputs | None,
) -> Prepared:
    """Build and check all layers of an attachment, without changing the model.

    Raises:
        TypeError: If a layer cannot be built or called.
        ValueError: If a site cannot be attached to, or no site is left.
    """
    resolved = [_resolved(model, site) for site in sites]
    _check_sites(model, resolved)
    skipped: dict[str, str] = {}
    befores: list[_Before | None] = [None] * len(resolved)
    if source.kind == "paired":
        befores, skipped = _befores(model, resolved, previous, on_mismatch, example_inputs)
    maps_key = new_key() if source.kind == "guided" else None
    placements: list[Placement] = []
    for site, before in zip(resolved, befores, strict=True):
        if site.name in skipped:
            continue
        module = model.get_submodule(site.name)
        device, dtype = placed(module, model)
        with AtSite(site.name):
            built: list[Built] = []
            roles: list[tuple[nn.Module, Role, str]] = []
            for index, spot in enumerate(site.spots):
                key = maps_key if before is None else new_key()
                if before is not None and key is not None:
                    roles += before.roles(module, key, site.slot is not None)
                like = None if before is None else before.spots[index]
                layer = build(
                    source,
                    spot,
                    init=init,
                    device=device,
                    dtype=dtype,
                    training=module.training,
                    key=key,
                    inside=None if before is None else before.inside,
                    previous=like,
                )
                built.append(layer)
        if maps_key is not None and not placements:
            roles.append((model, "maps", maps_key))
        placements.append(Placement(model=model, site=site, built=tuple(built), roles=roles))
    if not placements:
        reasons = "; ".join(f"{site}: {reason}" for site, reason in skipped.items())
        raise ValueError(f"no site is left to attach to ({reasons}); on_mismatch='project' would keep them")
    rows = tuple(_row(placement, built) for placement in placements for built in placement.built)
    return Prepared(placements=tuple(placements), plan=Plan(layer=source.name, init=init, rows=rows, skipped=skipped))


def _resolved(model: nn.Module, site: Site) -> Site:
    """Return the site with plain Sequentials replaced by their last child, whose output is the same tensor.

    With ``set_grad_checkpointing`` a model runs a Sequential's children without calling the Sequential.
    """
    module, name = model.get_submodule(site.name), site.name
    while original_class(module).forward is nn.Sequential.forward and len(module):  # type: ignore[arg-type]
        last = next(name for name in reversed(module._modules) if name != CHILD)  # noqa: SLF001
        child = module.get_submodule(last)
        if not any(True for _ in child.children()):
            break
        module, name = child, f"{name}.{last}".lstrip(".")
    return replace(site, name=name)


def _check_sites(model: nn.Module, sites: Iterable[Site]) -> None:
    seen: dict[nn.Module, str] = {}
    for site in sites:
        module = model.get_submodule(site.name)
        if site.slot is None:
            if reason := refusal(module):
                raise ValueError(f"cannot attach to {site.name!r}: {reason}")
            if module in seen:
                raise ValueError(f"{site.name!r} and {seen[module]!r} are one module: name it once")
            seen[module] = site.name
        elif reason := slot_refusal(model, site.slot):
            raise ValueError(f"cannot attach to {site.name!r}: {reason}")
        if not site.spots:
            raise ValueError(f"site {site.name!r} has no tensor to attend to")


def placed(module: nn.Module, model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return device and dtype of the first floating parameter or buffer of the module, else of the model."""
    for owner in (module, model):
        for tensor in (*owner.parameters(), *owner.buffers()):
            if tensor.is_floating_point():
                return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """The source of a site's F_pre, and its layout and shape for each of the site's spots."""

    module: nn.Module
    inside: str | None
    spots: tuple[Spot, ...]

    def roles(self, site: nn.Module, key: str, in_slot: bool) -> list[tuple[nn.Module, Role, str]]:
        """Return the modules' roles by which F_pre is passed to the layer.

        Args:
            site: The site's module.
            key: The key of F_pre; see :mod:`attnzoo.attach.context`.
            in_slot: Whether the attention is in a slot inside the module.
        """
        if self.inside is None:
            return [(site, "lends" if in_slot else "input", key)]
        return [(site, "holds", key), (self.module, "output", key)]


def _befores(
    model: nn.Module,
    sites: Sequence[Site],
    previous: str,
    on_mismatch: Mismatch,
    example_inputs: Inputs | None,
) -> tuple[list[_Before | None], dict[str, str]]:
    trace = probe(model, example_inputs).square
    befores: list[_Before | None] = []
    skipped: dict[str, str] = {}
    for site in sites:
        name, is_input = previous_module(site.name, model.get_submodule(site.name), previous)
        module = model.get_submodule(name)
        if reason := refusal(module):
            raise ValueError(f"cannot take previous={previous!r} from {name!r}: {reason}")
        shape = observed_shape(trace, name, is_input)
        spots = [previous_spot(shape, spot) for spot in site.spots]
        known = [spot for spot in spots if spot is not None]
        if len(known) < len(spots):
            skipped[site.name] = f"F_pre has shape {shape}, not of the same layout"
        elif on_mismatch == "skip" and any(
            (now.channels, now.grid) != (then.channels, then.grid) for now, then in zip(site.spots, known, strict=True)
        ):
            skipped[site.name] = f"F_pre has shape {shape}, F_cur {site.spots[0].channels} channels on " + (
                "x".join(map(str, site.spots[0].grid))
            )
        inside = None if is_input else name.removeprefix(f"{site.name}.")
        befores.append(_Before(module=module, inside=inside, spots=tuple(known)))
    return befores, skipped


def _row(placement: Placement, built: Built) -> PlanRow:
    state = [*built.entry.parameters(), *built.entry.buffers()]
    spot = built.spot
    return PlanRow(
        site=placement.site.slot or placement.site.name,
        module=type(placement.model.get_submodule(placement.site.name)).__name__,
        path=spot.path,
        channels=spot.channels,
        layout=spot.layout,
        prefix_tokens=spot.prefix_tokens,
        grid=spot.grid,
        parameters=sum(parameter.numel() for parameter in built.entry.parameters()),
        macs=built.macs,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in state),
    )
