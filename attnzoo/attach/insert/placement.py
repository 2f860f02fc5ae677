"""Put one attachment's layers at one site into the model, and remove them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from attnzoo.attach.insert.construct import Built
from attnzoo.attach.insert.stack import CHILD, AttentionStack, Role, SlotStack
from attnzoo.attach.insert.swap import can_unswap, give, is_swapped, original_class, swap, take, unswap
from attnzoo.attach.sites import Site

# A slot or a child may be None, absent, or hidden by a container: only the registry of children tells which.
# ruff: noqa: SLF001

_ABSENT = "absent"


@dataclass(slots=True, kw_only=True)
class Placement:
    """The layers of one attachment at one site.

    Attributes:
        model: The model.
        site: The site.
        built: A layer for each of its spots.
        roles: The modules that pass tensors to these layers, each with its role (see
            :data:`attnzoo.attach.insert.stack.Role`) and the tensor's key.
    """

    model: nn.Module
    site: Site
    built: tuple[Built, ...]
    roles: list[tuple[nn.Module, Role, str]] = field(default_factory=list)
    _module: nn.Module = field(init=False)
    _keys: list[str] = field(default_factory=list, init=False)
    _guard: RemovableHandle | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._module = self.model.get_submodule(self.site.name)

    @property
    def stack_name(self) -> str:
        """Name of the stack in ``model.named_modules()`` after :meth:`put`."""
        return self.site.slot or f"{self.site.name}.{CHILD}".lstrip(".")

    def entry_names(self) -> list[str]:
        """Return each layer's name in ``model.named_modules()``."""
        return [f"{self.stack_name}.{key}" for key in self._keys]

    def put(self, number: int) -> None:
        """Put the layers into the model, as children ``number`` of the stack."""
        stack = swap(self._module) if self.site.slot is None else fill_slot(self.model, self.site.slot)
        for built in self.built:
            key = "_".join(map(str, (number, *built.spot.path)))
            stack[key] = built.entry
            self._keys.append(key)
        for module, role, key in self.roles:
            give(module, role, key)
        if isinstance(self._module, _BatchNorm) and self.site.slot is None:
            parent, _, child = self.site.name.rpartition(".")
            guard = functools.partial(keep_attention, child=child)
            self._guard = self.model.get_submodule(parent).register_forward_pre_hook(guard)

    def obstacle(self) -> str | None:
        """Return why the layers cannot be removed, or None if they can."""
        name = self.site.name
        for module in {self._module, *(module for module, _, _ in self.roles)}:
            if module is self._module and self.site.slot is not None:
                continue
            if not can_unswap(module):
                return f"the class of {name!r} is now {type(module).__name__} (fully_shard changes it, for one)"
        if self._at(self.site.name) is not self._module:
            return f"{name!r} is another module than the one that was attached to"
        stack = self._at(self.stack_name)
        if not isinstance(stack, AttentionStack) or any(key not in stack for key in self._keys):
            return f"{self.stack_name!r} was replaced or emptied"
        return None

    def remove(self) -> None:
        """Remove the layers from the model; without other attachments there it is as before :meth:`put`."""
        for module, role, key in self.roles:
            take(module, role, key)
            _clear(module)
        stack = self._at(self.stack_name)
        for key in self._keys:
            del stack._modules[key]  # type: ignore[union-attr]
        self._keys.clear()
        if self.site.slot is None:
            _clear(self._module)
        else:
            empty_slot(self.model, self.site.slot)
        if self._guard is not None:
            self._guard.remove()

    def _at(self, name: str) -> nn.Module | None:
        module: nn.Module | None = self.model
        for part in filter(None, name.split(".")):
            module = None if module is None else module._modules.get(part)
        return module


def _clear(module: nn.Module) -> None:
    stack = module._modules.get(CHILD)
    if isinstance(stack, AttentionStack) and not stack.in_use:
        unswap(module)


def slot_refusal(model: nn.Module, slot: str) -> str | None:
    """Return why the slot cannot be filled, or None if it can."""
    parent, _, name = slot.rpartition(".")
    native = getattr(model.get_submodule(parent), name, None)
    if native is None or type(native) is nn.Identity or isinstance(native, SlotStack):
        return None
    return f"its slot {slot!r} already has an attention, {type(native).__name__}"


def fill_slot(model: nn.Module, slot: str) -> SlotStack:
    """Return the stack in the slot, after putting one there if the slot is empty."""
    parent_name, _, name = slot.rpartition(".")
    parent = model.get_submodule(parent_name)
    native = getattr(parent, name, None)
    if isinstance(native, SlotStack):
        return native
    stack = SlotStack().train(parent.training)
    if name in parent._modules:
        stack.native = (parent._modules[name],)
    else:
        stack.native = (None,) if name in vars(parent) else (_ABSENT,)
        vars(parent).pop(name, None)
        stack.registered = False
    parent._modules[name] = stack
    return stack


def empty_slot(model: nn.Module, slot: str) -> None:
    """Restore the slot's former content, if its stack is empty."""
    parent_name, _, name = slot.rpartition(".")
    parent = model.get_submodule(parent_name)
    stack = parent._modules[name]
    if not isinstance(stack, SlotStack) or stack.in_use:
        return
    native: Any = stack.native[0]
    if stack.registered:
        parent._modules[name] = native
        return
    del parent._modules[name]
    if native is not _ABSENT:
        vars(parent)[name] = native


def keep_attention(parent: nn.Module, _: Any, *, child: str) -> None:
    """Swap the class of a module by which a conversion replaced an attached normalisation; a pre-hook of its parent.

    ``convert_sync_batchnorm`` creates a new module and gives it the children, and thereby the stack.

    Raises:
        RuntimeError: If the new module has no stack, so that the attention is lost.
    """
    module = parent._modules[child]
    if module is None or is_swapped(module):
        return
    if not isinstance(module._modules.get(CHILD), AttentionStack):
        raise RuntimeError(
            f"{child!r} of {original_class(parent).__name__} was replaced by a {type(module).__name__} without the "
            "attention that was attached to it; convert the model first, and attach then"
        )
    swap(module)
