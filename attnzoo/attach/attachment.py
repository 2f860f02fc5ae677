"""The handle to the layers that were attached to a model."""

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
    """The layers that one call of :func:`attnzoo.attach` added to a model; printing it shows them as a table.

    The model's ``state_dict()`` **includes** the added tensors, under ``<site>.attnzoo.<number>.`` or
    ``<slot>.<number>.``, so that saving the model the usual way saves the attention too. The backbone's keys and their
    order are unchanged. A checkpoint without any attention loads strictly and leaves the attention unchanged; one with
    the attention of some sites only is reported as incomplete, like any missing key in torch. :meth:`state_dict`
    returns the attention alone.

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
        """Yield the added parameters with their names in ``model.named_parameters()``, each once."""
        seen: set[nn.Parameter] = set()
        for placement in self._placements:
            for name, built in zip(placement.entry_names(), placement.built, strict=True):
                for full, parameter in built.entry.named_parameters(prefix=name):
                    if parameter not in seen:
                        seen.add(parameter)
                        yield full, parameter

    def state_dict(self) -> dict[str, Tensor]:
        """Return the added parameters and buffers, by site: ``layer1.0:layer.fc1.weight``.

        The keys do not depend on other attachments, so that they fit another model with the same sites. Buffers that
        other code has registered on an attached layer (a profiler's counters) are left out.
        """
        return {
            f"{label}:{name}": tensor
            for label, entry in self._entries()
            for name, tensor in _own_tensors(entry, self._own[label]).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load tensors from :meth:`state_dict`; if any does not fit, nothing is changed.

        Raises:
            ValueError: If keys or shapes differ; the message lists all differences.
        """
        checkpoint.check_tensors(self.state_dict(), state)
        for label, entry in self._entries():
            names = _own_tensors(entry, self._own[label])
            entry.load_state_dict({name: state[f"{label}:{name}"] for name in names}, strict=False)

    def save(self, path: str | Path) -> None:
        """Write the attention alone as safetensors, with its layer, options, sites and attnzoo's version as metadata.

        The file is written atomically.

        Raises:
            OSError: If it cannot be written.
        """
        checkpoint.save(Path(path), self.state_dict(), self._spec())

    def load(self, path: str | Path) -> None:
        """Load a file that :meth:`save` wrote; if anything does not fit, nothing is changed.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no file of an attachment, or layer, options, sites or shapes differ; the message lists
                the differences.
        """
        state, saved = checkpoint.load(Path(path), self._spec())
        if "blend" not in saved:  # of version 1 of Attend
            for label, entry in self._entries():
                if reason := entry.why_not_older(state.get(f"{label}:blend")):
                    raise ValueError(f"{path}: the blend of {label}: {reason}")
        self.load_state_dict(state)

    def detach(self) -> None:
        """Remove the layers from the model: every module has its former class and children again.

        Other attachments stay, in whatever order they were added. Parameters frozen by :meth:`freeze_backbone` require
        gradients again.

        Raises:
            RuntimeError: If the attachment is detached already, or the model was changed so that it cannot be; then
                nothing is changed.
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
        """Set ``requires_grad`` of all parameters but attention's to False; :meth:`unfreeze` restores it.

        The attention of other attachments is not changed. Running statistics of normalisations are no parameters: they
        are still updated in training mode.
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
        """Undo :meth:`freeze_backbone`, by the names of the parameters."""
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if _plain_name(name) in self._frozen:
                parameter.requires_grad_(True)
        self._frozen.clear()

    @contextmanager
    def enabled(self, active: bool = True) -> Iterator[None]:
        """Switch the layers on or off inside the ``with`` block, in all threads.

        Args:
            active: Whether the layers are applied; without them the model computes as before :func:`attnzoo.attach`.
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
    """Return a parameter's name without the additions of ``torch.nn.utils.parametrize``."""
    return _REPARAMETRISED.sub(r".\1", f".{name}")[1:]


def _names_by_module(entry: nn.Module) -> dict[str, tuple[set[str], set[str]]]:
    """Return, by the name of each module in ``entry``, the names of its direct parameters and of its direct buffers."""
    return {
        name: (
            {parameter for parameter, _ in module.named_parameters(recurse=False)},
            {buffer for buffer, _ in module.named_buffers(recurse=False)},
        )
        for name, module in entry.named_modules(remove_duplicate=False)
    }


def _own_tensors(entry: nn.Module, before: Mapping[str, tuple[set[str], set[str]]]) -> dict[str, Tensor]:
    """Return the state dict of ``entry`` without buffers that other code registered on its modules.

    Args:
        entry: An attached layer.
        before: The result of :func:`_names_by_module` when it was attached. If a module's parameters have changed since
            (by pruning or an adapter), its new buffers belong to them and are included.
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
    """Pre-hook of ``load_state_dict``: report stacks as missing if the checkpoint has other stacks but not these."""
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
    """Return a number greater than that of every attachment in the model."""
    keys = [key for module in model.modules() if isinstance(module, AttentionStack) for key in module]
    return max((int(key.partition("_")[0]) + 1 for key in keys), default=0)
