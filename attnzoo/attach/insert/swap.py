"""The class swap: a module becomes an instance of a subclass of its class that applies attention to its output.

The module object, its parameters, name and state-dict keys stay; ``isinstance``, attribute reads and writes work as
before, and a container counts and iterates over its former children only. Only ``type(module) is`` differs.
"""

from __future__ import annotations

import copyreg
import functools
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

# The registry of children is read and written directly: containers override every public way to it.
# ruff: noqa: SLF001
from attnzoo.attach.insert.replaced import OWN_FORWARDS, ReplacedForward, is_own, standing_in
from attnzoo.attach.insert.signature import with_argument
from attnzoo.attach.insert.stack import CHILD, MAPS, AttentionStack, Role

FORWARD = "forward"
_ORIGINAL = "_attnzoo_original"
_BEFORE = "_attnzoo_before"
_DELEGATED = (
    *("append", "clear", "extend", "insert", "pop", "update"),
    *("__add__", "__contains__", "__delitem__", "__iadd__", "__imul__", "__mul__", "__rmul__", "__setitem__"),
)


def is_swapped(module: nn.Module) -> bool:
    """Tell whether the module's class is one that :func:`swap` created, or is derived from one.

    ``torch.nn.utils.parametrize`` and ``fully_shard`` derive classes for single modules.
    """
    return hasattr(type(module), _ORIGINAL)


def is_outermost(module: nn.Module) -> bool:
    """Tell whether the module's class is one that :func:`swap` created, not one derived from it."""
    return _ORIGINAL in vars(type(module))


def can_unswap(module: nn.Module) -> bool:
    """Tell whether :func:`unswap` can undo :func:`swap`."""
    return is_outermost(module) or (is_swapped(module) and parametrize.is_parametrized(module))


def original_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of the module without attention."""
    original: type[nn.Module] = getattr(type(module), _ORIGINAL, type(module))
    return original


def swap(module: nn.Module) -> AttentionStack:
    """Add an attention stack to the module and swap its class, unless that was done before; return the stack.

    A new stack is set to the module's mode, training or evaluation.
    """
    if not is_swapped(module):
        cls: Any = type(module)
        if parametrize.is_parametrized(module):
            module.__class__ = _rebased(cls, swapped(cls.__bases__[0]), **{_BEFORE: cls})
        else:
            module.__class__ = swapped(cls)
    if CHILD not in module._modules:
        module.add_module(CHILD, AttentionStack().train(module.training))
        if FORWARD in vars(module):
            vars(module)[FORWARD] = standing_in(module, vars(module)[FORWARD])
    stack = module.get_submodule(CHILD)
    if not isinstance(stack, AttentionStack):
        raise TypeError(f"{type(module).__name__}.{CHILD} is {type(stack).__name__}, not an attention stack")
    return stack


def unswap(module: nn.Module) -> None:
    """Undo :func:`swap`; a ``forward`` that was assigned to the instance stays, without attention."""
    assigned = vars(module).get(FORWARD)
    if isinstance(assigned, ReplacedForward):
        vars(module)[FORWARD] = assigned.given
    elif is_own(module, assigned):
        del vars(module)[FORWARD]
    del module._modules[CHILD]
    cls: Any = type(module)
    if is_outermost(module):
        module.__class__ = original_class(module)
    elif parametrize.is_parametrized(module):
        before: Any = vars(cls).get(_BEFORE)
        same = before is not None and vars(before).keys() == vars(cls).keys() - {_BEFORE}
        module.__class__ = before if same else _rebased(cls, original_class(module))


def _rebased(cls: Any, base: type[nn.Module], **more: Any) -> Any:
    """Return a copy of a class that ``torch.nn.utils.parametrize`` created for a module, derived from ``base``.

    The parametrised class must stay the module's class: removing the parametrisation requires that. It is copied,
    because copies of the module share it.
    """
    attributes = {name: value for name, value in vars(cls).items() if name not in {"__dict__", "__weakref__", _BEFORE}}
    return type(cls)(cls.__name__, (base,), attributes | more)


def refusal(module: nn.Module) -> str | None:
    """Return why the module cannot be swapped, or None if it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is a ScriptModule, whose forward is compiled: attach before torch.jit"
    if isinstance(module, torch.fx.GraphModule):
        return "it is a GraphModule, whose class is its own: attach to a module inside it, or before tracing"
    if type(module).forward is nn.Module.forward:
        return f"{type(module).__name__} has no forward of its own, so it is never called: name its last child"
    if CHILD in module._modules and not is_swapped(module):
        return f"it already has a child named {CHILD!r}"
    return None


def give(module: nn.Module, role: Role, key: str) -> None:
    """Add a role to the module; with the role "maps" its forward's signature has the attention maps."""
    swap(module).roles.append((role, key))
    _show_maps(module)


def take(module: nn.Module, role: Role, key: str) -> None:
    """Undo :func:`give`."""
    swap(module).roles.remove((role, key))
    _show_maps(module)


def _show_maps(module: nn.Module) -> None:
    if is_outermost(module):
        maps = any(role == "maps" for role, _ in swap(module).roles)
        original: Any = original_class(module)
        module.__class__ = swapped(original, maps)


@functools.cache
def swapped(original: Any, takes_maps: bool = False) -> Any:
    """Return the subclass of ``original``, of the same name, that applies attention to its output; cached.

    Args:
        original: A module class.
        takes_maps: Whether the signature of ``forward`` has the attention maps.
    """

    @functools.wraps(original.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        stack: Any = self._modules.get(CHILD)
        if stack is None:  # the attention was detached
            return original.forward(self, *args, **kwargs)
        if not stack.roles and stack.replaced is None:
            return stack.attend(original.forward(self, *args, **kwargs))
        return stack.call(functools.partial(original.forward, self), args, kwargs)

    shown = with_argument(MAPS, forward, original.forward) if takes_maps else forward
    OWN_FORWARDS.add(shown)

    def setattr_(self: nn.Module, name: str, value: Any) -> None:
        original.__setattr__(self, name, standing_in(self, value) if name == FORWARD else value)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        reduced = original.__reduce_ex__(self, protocol)
        if type(self) is not subclass or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return reduced
        return (_rebuild, (original, takes_maps), *reduced[2:])

    namespace: dict[str, Any] = {
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "__reduce_ex__": reduce,
        "__setattr__": setattr_,
        _ORIGINAL: original,
        FORWARD: shown,
    }
    if issubclass(original, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        namespace |= _hiding(original)
    subclass: type[nn.Module] = type(original)(original.__name__, (original,), namespace)
    return subclass


def _rebuild(original: Any, takes_maps: bool) -> Any:
    cls = swapped(original, takes_maps)
    return cls.__new__(cls)


def _hiding(original: type[nn.Module]) -> dict[str, Any]:
    """Return methods by which a container counts, iterates over and indexes its children without the stack."""

    def items(self: nn.Module) -> dict[str, Any]:
        return {name: child for name, child in self._modules.items() if name != CHILD}

    def bare(self: nn.Module) -> Any:
        # a container of the original class with the same children, without the stack
        plain = original.__new__(original)
        plain.__dict__.update(self.__dict__, _modules=items(self))
        return plain

    def delegated(name: str) -> Any:
        @functools.wraps(getattr(original, name))
        def method(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            plain = bare(self)
            result = getattr(plain, name)(*args, **kwargs)
            if list(plain._modules.items()) != list(items(self).items()):
                self._modules = plain._modules | {CHILD: self._modules[CHILD]}
            return self if result is plain else result

        return method

    def length(self: nn.Module) -> int:
        return len(self._modules) - 1

    namespace: dict[str, Any] = {"__len__": length}
    if issubclass(original, nn.ModuleDict):
        namespace["__iter__"] = lambda self: iter(items(self))
        namespace["keys"] = lambda self: items(self).keys()
        namespace["values"] = lambda self: items(self).values()
        namespace["items"] = lambda self: items(self).items()
    else:
        namespace["__getitem__"] = delegated("__getitem__")
        namespace["__iter__"] = lambda self: iter(list(items(self).values()))
    return namespace | {name: delegated(name) for name in _DELEGATED if hasattr(original, name)}
