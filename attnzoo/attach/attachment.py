"""A handle on what was attached to a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attnzoo.attach import checkpoint
from attnzoo.attach.attend import Attend
from attnzoo.attach.insert.placement import Placement
from attnzoo.attach.insert.stack import AttentionStack
from attnzoo.attach.sites import Site
from attnzoo.attach.source import Source
from attnzoo.attach.table import Plan

_REPARAMETRISED = re.compile(r"\.(?:parametrizations\.(\w+)\.original\d*)$")


class Attachment:
    """The layers that one call of :func:`attnzoo.attach` has put into a model; print it to see them.

    The model's own ``state_dict()`` **includes** the added tensors, under ``<site>.attnzoo.<number>.`` or
    ``<slot>.<number>.``: whoever saves the model the usual way must not lose the attention without a word. The
    backbone's keys are what they were, in the order in which they were, and a plain checkpoint, one without any
    attention in it, loads strictly and leaves the attention as it is. One that has the attention of some sites only is
    reported as incomplete, as torch reports any missing key. :meth:`state_dict` has the attention alone.

    Attributes:
        plan: The table of sites, layers and costs.
        sites: The sites that have a layer.
    """

    def __init__(
        self, model: nn.Module, source: Source, placements: Sequence[Placement], plan: Plan, hook: RemovableHandle
    ) -> None:
        self.plan = plan
        self._model = model
        self._source = source
        self._placements: tuple[Placement, ...] = tuple(placements)
        self._hook = hook
        self._frozen: set[str] = set()
        self._own = {label: _names_by_module(entry) for label, entry in self._entries()}

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that have a layer."""
        return tuple(placement.site for placement in self._placements)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the added parameters."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the added parameters under the names that they have in ``model.named_parameters()``, each once."""
        seen: set[nn.Parameter] = set()
        for placement in self._placements:
            for name, built in zip(placement.entry_names(), placement.built, strict=True):
                for full, parameter in built.entry.named_parameters(prefix=name):
                    if parameter not in seen:
                        seen.add(parameter)
                        yield full, parameter

    def state_dict(self) -> dict[str, Tensor]:
        """Return the added parameters and buffers, by site: ``layer1.0:layer.fc1.weight``.

        The keys say nothing of what else is attached, so that they fit another model with the same sites. Buffers that
        something else has registered on an attached layer since (a profiler's counters) are left out.
        """
        return {
            f"{label}:{name}": tensor
            for label, entry in self._entries()
            for name, tensor in _own_tensors(entry, self._own[label]).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy in what :meth:`state_dict` gave; on any difference nothing is changed.

        Raises:
            ValueError: If keys or shapes differ; the message has all of them.
        """
        checkpoint.check_tensors(self.state_dict(), state)
        for label, entry in self._entries():
            own = _own_tensors(entry, self._own[label])
            entry.load_state_dict({name: state[f"{label}:{name}"] for name in own}, strict=False)

    def save(self, path: str | Path) -> None:
        """Write the attention alone as safetensors, with what it is and attnzoo's version as metadata.

        The file appears whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        checkpoint.save(Path(path), self.state_dict(), self._spec())

    def load(self, path: str | Path) -> None:
        """Copy in what :meth:`save` wrote; on any difference nothing is changed.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no file of an attachment, or one of another layer, other options, other sites or other
                shapes; the message says what differs.
        """
        state, saved = checkpoint.load(Path(path), self._spec())
        if "blend" not in saved:  # of version 1 of Attend
            for label, entry in self._entries():
                if reason := entry.why_not_older(state.get(f"{label}:blend")):
                    raise ValueError(f"{path}: the blend of {label}: {reason}")
        self.load_state_dict(state)

    def detach(self) -> None:
        """Take the layers out: every module is again the object, of the class, with the children that it was.

        Other attachments stay, whatever the order. Backbone parameters frozen by :meth:`freeze_backbone` are thawed.

        Raises:
            RuntimeError: If it is done already, or the model was rebuilt in between so that it cannot be; nothing is
                changed then.
        """
        if not self._placements:
            raise RuntimeError("this attachment is detached already")
        for placement in self._placements:
            if obstacle := placement.obstacle():
                raise RuntimeError(f"cannot detach: {obstacle}")
        self.unfreeze()
        for placement in self._placements:
            placement.remove()
        self._hook.remove()
        self._placements = ()

    def freeze_backbone(self) -> None:
        """Let nothing but attention require a gradient; :meth:`unfreeze` gives back what did.

        The attention of other attachments stays as it is. Running statistics of normalisations are no parameters: they
        move in training mode as ever.
        """
        stacks = [module for module in self._model.modules() if isinstance(module, AttentionStack)]
        added = {parameter for stack in stacks for parameter in stack.parameters()}
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if parameter not in added and (parameter.requires_grad or _plain_name(name) in self._frozen):
                self._frozen.add(_plain_name(name))
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if _plain_name(name) in self._frozen:
                parameter.requires_grad_(False)

    def unfreeze(self) -> None:
        """Undo :meth:`freeze_backbone`, for the parameters that have these names now."""
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if _plain_name(name) in self._frozen:
                parameter.requires_grad_(True)
        self._frozen.clear()

    @contextmanager
    def enabled(self, active: bool = True) -> Iterator[None]:
        """Switch the layers on or off, in all threads, for as long as the context lasts; off, the model is bare.

        Args:
            active: Whether they act.
        """
        entries = [entry for _, entry in self._entries()]
        before = [entry.active for entry in entries]
        for entry in entries:
            entry.active = active
        try:
            yield
        finally:
            for entry, was in zip(entries, before, strict=True):
                entry.active = was

    def __repr__(self) -> str:
        """Return the table of sites and costs."""
        state = "" if self._placements else "detached "
        return f"{state}Attachment to {type(self._model).__name__}\n{self.plan}"

    def _entries(self) -> list[tuple[str, Attend]]:
        return [
            ("".join([placement.site.name, *(f"[{key}]" for key in built.spot.path)]), built.entry)
            for placement in self._placements
            for built in placement.built
        ]

    def _spec(self) -> dict[str, Any]:
        return {
            "layer": self._source.name,
            "options": {key: repr(value) for key, value in sorted(self._source.kwargs.items())},
            "init": self.plan.init,
            "blend": "each gate" if any(entry.folds for _, entry in self._entries()) else "output",
            "backbone": type(self._model).__name__,
            "channels": {
                label: built.spot.channels
                for (label, _), built in zip(
                    self._entries(), (b for placement in self._placements for b in placement.built), strict=True
                )
            },
        }


def _plain_name(name: str) -> str:
    """Return what a parameter is called before ``torch.nn.utils`` reparametrises it."""
    return _REPARAMETRISED.sub(r".\1", f".{name}")[1:]


def _names_by_module(entry: nn.Module) -> dict[str, tuple[set[str], set[str]]]:
    """Return, by the name of each module in ``entry``, the names of its own parameters and of its own buffers."""
    return {
        name: (
            {own for own, _ in module.named_parameters(recurse=False)},
            {own for own, _ in module.named_buffers(recurse=False)},
        )
        for name, module in entry.named_modules(remove_duplicate=False)
    }


def _own_tensors(entry: nn.Module, before: Mapping[str, tuple[set[str], set[str]]]) -> dict[str, Tensor]:
    """Return the state of ``entry`` without buffers that came later to modules that are otherwise as they were.

    Args:
        entry: An attached layer.
        before: What :func:`_names_by_module` gave when it was attached. Where a module's parameters are others now
            (it was pruned, or adapted) its later buffers belong to them.
    """
    foreign = {
        f"{name}.{buffer}".lstrip(".")
        for name, (parameters, buffers) in _names_by_module(entry).items()
        if name in before and before[name][0] == parameters
        for buffer in buffers - before[name][1]
    }
    return {name: tensor for name, tensor in entry.state_dict().items() if name not in foreign}


def require_all_or_none(
    model: nn.Module,
    state_dict: Mapping[str, Any],
    prefix: str,
    _metadata: Any,
    _strict: bool,
    missing_keys: list[str],
    _unexpected_keys: list[str],
    _errors: list[str],
) -> None:
    """Before a model loads: report stacks of which a checkpoint with attention has nothing."""
    stacks = {
        f"{prefix}{name}.": module
        for name, module in model.named_modules()
        if isinstance(module, AttentionStack) and any(True for _ in module.state_dict())
    }
    there = {start for start in stacks if any(key.startswith(start) for key in state_dict)}
    if there:
        lacking = [start + key for start, stack in stacks.items() if start not in there for key in stack.state_dict()]
        missing_keys.extend(key for key in lacking if key not in missing_keys)


def next_number(model: nn.Module) -> int:
    """Return a number above that of every attachment in the model."""
    keys = [key for module in model.modules() if isinstance(module, AttentionStack) for key in module]
    return max((int(key.partition("_")[0]) + 1 for key in keys), default=0)
