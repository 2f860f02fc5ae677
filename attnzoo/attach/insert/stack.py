"""The child ``attnzoo`` of an attached module: it holds the layers and passes tensors between modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NoReturn

from torch import nn

from attnzoo.attach import context
from attnzoo.attach.insert import symbolic
from attnzoo.attach.insert.fresh import is_fresh, is_last_use
from attnzoo.attach.insert.passes import Pass, remember
from attnzoo.ops.reading import may_replace_calls

CHILD = "attnzoo"
MAPS = "attention_maps"

Role = Literal["input", "lends", "holds", "output", "maps"]
"""The part of a module in passing a tensor to an attached layer: ``input``: its input goes to its own layer; ``lends``:
its input goes to a layer inside; ``output``: its output goes to the layer of a module around it, which ``holds`` it
during its call; ``maps``: it takes the attention maps as an argument."""

_WITHIN = frozenset({"input", "output"})
"""The roles that need no open frame, because no module inside reads or fills it."""
_NOTHING: context.Frame = {}


class AttentionStack(nn.ModuleDict):
    """Attached layers by number, each applied to the output of the one before.

    A checkpoint without any tensor of a stack loads strictly: the stack keeps its values.

    Attributes:
        roles: The module's roles, each with the tensor's key; see :mod:`attnzoo.attach.context`.
        replaced: Key by which a call is marked when attention was applied in it, once the module's ``forward`` was
            replaced on the instance (see :mod:`attnzoo.attach.insert.replaced`); else None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.roles: list[tuple[Role, str]] = []
        self.replaced: str | None = None

    @property
    def in_use(self) -> bool:
        """Whether the module must stay swapped: there are layers or roles."""
        return bool(len(self) or self.roles)

    def call(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, wraps: bool = False
    ) -> Any:
        """Return the output of ``forward(*args, **kwargs)`` with attention applied.

        Args:
            forward: The forward of the module's class, or one assigned to the instance.
            args: Its positional arguments.
            kwargs: Its keyword arguments; the attention maps among them are removed.
            wraps: Whether ``forward`` may call the forward of the class, which applies attention already.
        """
        frame = self._frame(args, kwargs)
        if wraps and self.replaced is not None:
            frame[self.replaced] = False
        guided = self._pass_of(frame)
        if self.replaced is None and all(role in _WITHIN for role, _ in self.roles):
            output = self.attend(forward(*args, **kwargs), frame)
        else:
            output = self._in_frame(frame, forward, args, kwargs)
        for role, key in self.roles:
            if role == "output":
                context.leave(key, output)
        if guided is not None:
            guided.follow(output)
        return output

    def _in_frame(
        self, frame: context.Frame, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return the output of ``call`` for a call during which ``frame`` is open."""
        before = context.opened(frame)
        try:
            output = forward(*args, **kwargs)
            if self.replaced is None or not frame.get(self.replaced):
                output = self.attend(output, frame)
            if self.replaced is not None:
                context.mark(self.replaced)
        finally:
            context.restore(before)
        return output

    def _frame(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> context.Frame:
        """Return the frame at the start of a call; removes the attention maps from ``kwargs``."""
        frame: context.Frame = {}
        takes_maps = any(role == "maps" for role, _ in self.roles)
        given = MAPS in kwargs
        maps = kwargs.pop(MAPS, None) if takes_maps else None
        if takes_maps and not given:
            maps = symbolic.argument(MAPS, args, kwargs)
        for role, key in self.roles:
            if role in {"input", "lends"}:
                frame[key] = args[0] if args else next(iter(kwargs.values()))
            elif role == "holds":
                frame[key] = None
            elif role == "maps" and (given or not self._wrapped()):
                frame[key] = maps
        return frame

    def _wrapped(self) -> bool:
        """Tell whether a call of this module's replaced forward is running, whose frame has the maps."""
        return self.replaced is not None and context.holder(self.replaced) is not None

    def _pass_of(self, frame: context.Frame) -> Pass | None:
        keys = [key for role, key in self.roles if role == "maps" and frame.get(key) is not None]
        return remember(keys, frame[keys[0]], frame) if keys else None

    def attend(self, output: Any, frame: context.Frame = _NOTHING) -> Any:
        """Return the module's output with attention applied; ``frame`` is that of the module's call."""
        fresh = is_fresh(output)  # a separate statement: the call below adds a reference to the output
        return self._attended(output, frame, fresh)

    def _attended(self, output: Any, frame: context.Frame, unused: bool) -> Any:
        """Return the output with attention applied, in place if its memory is not used otherwise (``unused``).

        See :mod:`attnzoo.attach.insert.fresh`.
        """
        entries: Any = self._modules.values()
        in_place = unused and all([may_replace_calls(entry, entry.layer) for entry in entries])  # noqa: C419 - faster
        for entry in entries:
            if entry.spot.path:
                output = _attended(output, entry.spot.path, entry, frame)
            elif in_place:
                output = entry(output, *entry.receive(output, frame), in_place=True)
            else:
                output = entry(output, *entry.receive(output, frame))
        return output

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return ``x``: some models call all of their ``children()`` in order; the stack must do nothing there."""
        return x

    def __prepare_scriptable__(self) -> NoReturn:
        """Raise: ``torch.jit.script`` calls this method of each module of a model."""
        raise TypeError(
            "a model with attached attention cannot be compiled by torch.jit.script: use torch.jit.trace, torch.export "
            "or torch.compile"
        )

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        if not any(key.startswith(prefix) for key in state_dict):
            state_dict.update(self.state_dict(prefix=prefix, keep_vars=True))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class SlotStack(AttentionStack):
    """A stack in a model's own attention slot, such as ``se`` of timm's blocks, which the model calls."""

    def __init__(self) -> None:
        super().__init__()
        self.native: tuple[nn.Module | str | None] = (None,)  # in a tuple, so that it is not registered as a child
        self.registered = True

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return ``x`` with attention applied."""
        last_use = is_last_use(x)  # a separate statement: the call below adds a reference to x
        return self._attended(x, _NOTHING, last_use and may_replace_calls(self))


def _attended(output: Any, path: tuple[int | str, ...], entry: Any, frame: context.Frame) -> Any:
    """Return a copy of the nested ``output`` in which attention was applied to the tensor at ``path``."""
    if not path:
        return entry(output, *entry.receive(output, frame))
    key, rest = path[0], path[1:]
    if dataclasses.is_dataclass(output) and not isinstance(output, dict):
        new = _attended(getattr(output, str(key)), rest, entry, frame)
        return dataclasses.replace(output, **{str(key): new})  # type: ignore[type-var]
    new = _attended(output[key], rest, entry, frame)
    if isinstance(output, dict):
        return type(output)({**output, key: new})
    items = [new if index == key else item for index, item in enumerate(output)]
    return output._make(items) if hasattr(output, "_make") else type(output)(items)
