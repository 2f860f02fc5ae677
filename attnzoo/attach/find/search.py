"""Find the sites that the argument ``where`` selects, and check by probing that attention can be applied to them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace as changed

import torch
from torch import fx, nn

from attnzoo.attach.find.axes import Hints, NoGridError, read_spot
from attnzoo.attach.find.branches import before_additions, with_slots
from attnzoo.attach.find.candidates import block_names, inside_attached, outermost, pattern, resolve, stage_names
from attnzoo.attach.find.families import Family, family_of
from attnzoo.attach.find.probe import Probe, alive, probe
from attnzoo.attach.sites import Site, Spot

Where = str | re.Pattern[str] | Sequence[str] | Callable[[str, nn.Module], bool]


def find_sites(
    model: nn.Module,
    where: Where,
    *,
    stages: Sequence[int] | None = None,
    example_inputs: object = None,
) -> tuple[Site, ...]:
    """Find the modules of ``model`` to whose output attention can be applied, and the layout of their tensors.

    A copy of the model is run on a small image, again at twice the width if the model accepts that, and once backward;
    the model itself is not changed.

    Args:
        model: Any vision model; for families of timm and torchvision some names are listed in
            :mod:`attnzoo.attach.find.families`.
        where: ``"stage"`` (the end of each stage), ``"block"`` (each residual or transformer block), ``"branch"``
            (inside the residual branch, before the addition), the exact name of a module, a glob over names (``*``
            within one level, ``**`` over levels), a regular expression for the whole name (compiled, or a string
            starting with ``re:``), a sequence of those, or a function ``(name, module) -> bool``.
        stages: Only sites in these stages, counted from 1.
        example_inputs: Arguments of the model's forward, for models that take other inputs than one image, or only a
            size that cannot be read from their configuration; see :meth:`attnzoo.attach.find.inputs.Inputs.of`.

    Returns:
        Sites in the order in which they run, none inside another.

    Raises:
        ValueError: If nothing matches, or a named module cannot be a site; the message says why.
        TypeError: If an argument is of the wrong type, or the model is compiled by TorchScript.
    """
    _check(model, where, stages)
    probed = probe(model, example_inputs)
    return Finder(probed).find(where, stages)


class Finder:
    """Finds sites of one probed model, any number of times without probing it again."""

    def __init__(self, probed: Probe) -> None:
        self.probed = probed
        self.model = probed.model
        self.trace = probed.square
        self.family: Family = family_of(probed.model)
        self.blocks = block_names(self.model, self.trace, self.family)
        self.stage_ends = stage_names(self.model, self.trace, self.family, self.blocks)
        self.channels = dict(self.stage_ends)
        self.prefix = getattr(self.model, "num_prefix_tokens", None)
        self.last = str(getattr(self.model, "output_fmt", "")).upper().endswith("NHWC")

    def find(self, where: Where, stages: Sequence[int] | None = None) -> tuple[Site, ...]:
        """Return the sites; arguments and errors as for :func:`find_sites`."""
        if where == "branch":
            sites, refused = self._branches()
        else:
            sites, refused = self._sites(where)
        if not sites:
            reasons = "; ".join(f"{name or 'the model'}: {why}" for name, why in list(refused.items())[:4])
            raise ValueError(f"no site for where={where!r} in {type(self.model).__name__}: {reasons}")
        sites = [changed(site, stage=self._stage_of(site.name)) for site in sites]
        return self._narrowed(where, sites, stages)

    def _sites(self, where: Where) -> tuple[list[Site], dict[str, str]]:
        automatic = isinstance(where, str) and where in {"stage", "block"}
        if where == "stage":
            names = [name for name, _ in self.stage_ends]
        elif where == "block":
            names = self.blocks
        else:
            names = self._named(where)
        if not names:
            return [], {"": f"it has no modules that look like a {where}; name them instead"}
        return self.proven(names, shift=where == "stage", strict=not automatic)

    def _branches(self) -> tuple[list[Site], dict[str, str]]:
        """Return the sites of ``where="branch"`` and the refused blocks with reasons.

        A site is the block's own attention slot if it has one, else the last module before the addition.
        """
        probed, slots = with_slots(self.probed, self.blocks)
        filled = self if probed is self.probed else Finder(probed)
        inside, refused = filled.proven(slots, shift=False, strict=False)
        sites = [changed(site, name=site.name.rpartition(".")[0], slot=site.name) for site in inside]
        names: list[str] = []
        for block in set(self.blocks) - {site.name for site in sites}:
            try:
                names += before_additions(self.model, self.trace, block)
            except ValueError as error:
                refused[block] = str(error)
        innermost = [name for name in dict.fromkeys(names) if not any(n.startswith(f"{name}.") for n in names)]
        others, reasons = self.proven(innermost, shift=False, strict=False)
        return sorted([*sites, *others], key=lambda site: self.trace.ended(site.name)), reasons | refused

    def proven(self, names: list[str], *, shift: bool, strict: bool) -> tuple[list[Site], dict[str, str]]:
        """Return the sites at ``names`` that can be used, and the reasons against the others.

        Args:
            names: Module names.
            shift: Whether to use a previous block instead of a name that cannot be used.
            strict: Whether to raise for a name that cannot be used, instead of leaving it out.
        """
        blocks = self.blocks if shift else []
        live = alive(self.probed, dict.fromkeys([*names, *blocks]))
        found: dict[str, Site] = {}
        refused: dict[str, str] = {}
        for name in names:
            for candidate in [name, *self._before(name, blocks)]:
                try:
                    found[candidate] = self._site(candidate, live)
                    break
                except ValueError as error:
                    refused.setdefault(name, str(error))
            else:
                if strict:
                    raise ValueError(f"{name!r} cannot be a site: {refused[name]}")
        return sorted(found.values(), key=lambda site: self.trace.ended(site.name)), refused

    def _before(self, name: str, blocks: list[str]) -> list[str]:
        """Return the last two blocks before ``name`` in the same stage, the last first."""
        earlier = [block for block in blocks if self.trace.ended(block) < self.trace.ended(name)]
        earlier = [block for block in earlier if not block.startswith(name + ".") or name not in blocks]
        same = [block for block in earlier if self._stage_of(block) == self._stage_of(name)]
        return same[-2:][::-1]

    def _site(self, name: str, live: dict[tuple[str, tuple[int | str, ...]], torch.Tensor]) -> Site:
        """Return the site ``name`` with the tensors on which the model's output depends.

        Raises:
            ValueError: If it cannot be a site, with the reason.
        """
        for glob, stages, reason in self.family.refused:
            if pattern(glob).fullmatch(name) and (not stages or self._stage_of(name) in stages):
                raise ValueError(reason)
        calls = self.trace.calls.get(name, [])
        if len(calls) != 1:
            raise ValueError(f"it is called {len(calls)} times in one forward pass" if calls else "it is never called")
        spots: list[Spot] = []
        reasons: list[str] = []
        wide = self._wide(name)
        for seen in calls[0].outputs:
            try:
                spot = read_spot(
                    seen.path,
                    seen.shape,
                    wide.get(seen.path),
                    self.trace.image[2:],
                    self.trace.batch,
                    Hints(self.channels.get(name), self.prefix, self.last),
                )
            except NoGridError as error:
                reasons.append(str(error))
                continue
            if (name, seen.path) in live and not _grid_lives(spot, live[name, seen.path]):
                reasons.append("the model's output does not depend on it (only class tokens go on, or nothing does)")
                continue
            spots.append(spot)
        if not spots:
            raise ValueError("; ".join(dict.fromkeys(reasons)) or "its output holds no floating tensor")
        return Site(name=name, stage=None, spots=tuple(spots))

    def _wide(self, name: str) -> dict[tuple[int | str, ...], tuple[int, ...]]:
        if self.probed.wide is None or name not in self.probed.wide.calls:
            return {}
        return {seen.path: seen.shape for seen in self.probed.wide.outputs_of(name)}

    def _stage_of(self, name: str) -> int | None:
        ends = [self.trace.ended(end) for end, _ in self.stage_ends]
        if name not in self.trace.calls:
            return None
        return next((number for number, end in enumerate(ends, start=1) if self.trace.ended(name) <= end), None)

    def _named(self, where: Where) -> list[str]:
        """Return the module names that ``where`` selects, without those never called or inside another."""
        known = {name: module for name, module in self.model.named_modules() if name and not inside_attached(name)}
        if callable(where):
            names = [name for name, module in known.items() if where(name, module)]
            exact = False
        else:
            words = [where] if isinstance(where, str | re.Pattern) else list(where)
            matched = {word: _match(word, known) for word in words}
            for word, hits in matched.items():
                if not hits:
                    raise ValueError(_nothing(word, known))
            names = list(dict.fromkeys(name for hits in matched.values() for name in hits))
            exact = all(isinstance(word, str) and word in known for word in words)
        if not names:
            raise ValueError("where: the function was true for no module; it was called with each (name, module)")
        called = [name for name in names if resolve(self.model, self.trace, name, containers_only=True)]
        if not called:
            raise ValueError(_uncalled(names, self.model))
        kept = outermost(names if exact else called)
        if exact and (nested := set(names) - set(kept)):
            raise ValueError(f"where: {sorted(nested)} lie inside other named modules; sites may not be nested")
        if exact and (idle := set(names) - set(called)):
            raise ValueError(_uncalled(sorted(idle), self.model))
        resolved = [resolve(self.model, self.trace, name, containers_only=True) for name in kept]
        return sorted({name for name in resolved if name is not None}, key=self.trace.ended)

    def _narrowed(self, where: Where, sites: list[Site], stages: Sequence[int] | None) -> tuple[Site, ...]:
        if stages is None:
            return tuple(sites)
        has = sorted({site.stage for site in sites if site.stage is not None})
        if missing := sorted(set(stages) - set(has)):
            raise ValueError(
                f"stages: {missing} hold no site for where={where!r}; "
                f"{type(self.model).__name__} has sites in stages {has}"
            )
        return tuple(site for site in sites if site.stage in stages)


def _check(model: nn.Module, where: Where, stages: Sequence[int] | None) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model is a ScriptModule, whose modules cannot be changed; attach to it before torch.jit")
    if not (isinstance(where, str | re.Pattern | Sequence) or callable(where)):
        raise TypeError(f"where must be a name, a pattern, a sequence of them or a function, got {where!r}")
    if isinstance(where, Sequence) and not isinstance(where, str):
        if not where:
            raise ValueError("where is an empty sequence; give at least one name")
        if wrong := [word for word in where if not isinstance(word, str | re.Pattern)]:
            raise TypeError(f"where must hold names and patterns, got {wrong[0]!r}")
    if stages is not None and not all(type(stage) is int and stage >= 1 for stage in stages):
        raise ValueError(f"stages must be numbers from 1, such as (3, 4), got {stages!r}")


def _match(word: str | re.Pattern[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    if isinstance(word, str) and word in known:
        return [word]
    if isinstance(word, re.Pattern):
        compiled = word
    elif word.startswith("re:"):
        try:
            compiled = re.compile(word.removeprefix("re:"))
        except (re.error, RecursionError) as error:
            raise ValueError(f"where: {word!r} is no regular expression: {error}") from error
    elif any(sign in word for sign in "*?["):
        compiled = pattern(word)
    else:
        return []
    return [name for name in known if compiled.fullmatch(name)]


def _nothing(word: str | re.Pattern[str], known: Iterable[str]) -> str:
    known = list(known)
    text = word.pattern if isinstance(word, re.Pattern) else word
    close = difflib.get_close_matches(text.removeprefix("re:"), known, n=3, cutoff=0.3) or known[:3]
    if isinstance(word, re.Pattern) or text.startswith("re:"):
        kind = "the regular expression, which must match the whole name, matches none"
    elif any(sign in text for sign in "*?["):
        kind = "the glob matches no name (* stays within one level, ** goes deeper)"
    else:
        kind = "there is no such module"
    return f"where={text!r}: {kind}; the closest names are {', '.join(close)}"


def _uncalled(names: list[str], model: nn.Module) -> str:
    why = (
        "it is a GraphModule, which calls the innermost modules only"
        if isinstance(model, fx.GraphModule)
        else ("the forward pass goes round them")
    )
    return f"where: {', '.join(names[:4])} exist in {type(model).__name__} but are never called; {why}"


def _grid_lives(spot: Spot, live: torch.Tensor) -> bool:
    return bool(live[:, spot.prefix_tokens :].any()) if spot.layout == "NLC" else bool(live.any())
