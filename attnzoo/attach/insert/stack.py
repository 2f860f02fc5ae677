"""The child ``attnzoo`` that an attached module has: the layers of its output, and what its calls hand over."""

from __future__ import annotations

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
"""What a module does for an attention: its ``input`` goes to its own, or it ``lends`` it to one inside; its call
``holds`` what a module inside hands over, its ``output``; or it takes the attention ``maps`` as an argument."""

_WITHIN = frozenset({"input", "output"})
"""The roles of a module whose calls hold nothing that a module inside reads or fills."""
_NOTHING: context.Frame = {}


class AttentionStack(nn.ModuleDict):
    """Attached layers by their number, each applied to what the one before it returned.

    A plain checkpoint, one that has nothing of a stack, loads strictly: the stack keeps what it has.

    Attributes:
        roles: What the module does for attention elsewhere, each with the key of :mod:`attnzoo.attach.context` under
            which the tensor is handed over.
        replaced: Key under which a call is marked as attended, once the module's ``forward`` was replaced on the
            instance; see :mod:`attnzoo.attach.insert.replaced`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.roles: list[tuple[Role, str]] = []
        self.replaced: str | None = None

    @property
    def in_use(self) -> bool:
        """Whether anything is left that needs the module to be swapped."""
        return bool(len(self) or self.roles)

    def call(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, wraps: bool = False
    ) -> Any:
        """Return what ``forward(*args, **kwargs)`` returns, attended to.

        Args:
            forward: The module's own forward, or one that has taken its place.
            args: Its arguments.
            kwargs: The same by name; the attention maps among them are not passed on.
            wraps: Whether ``forward`` may call the module's own, where the output is attended to already.
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
        """Return the attended output of a call of which modules inside may read and fill ``frame``."""
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
        """Return what a call holds when it begins; takes the attention maps out of ``kwargs``."""
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
        """Tell whether a call of a replaced forward of this module is running, which has taken the maps."""
        return self.replaced is not None and context.holder(self.replaced) is not None

    def _pass_of(self, frame: context.Frame) -> Pass | None:
        keys = [key for role, key in self.roles if role == "maps" and frame.get(key) is not None]
        return remember(keys, frame[keys[0]], frame) if keys else None

    def attend(self, output: Any, frame: context.Frame = _NOTHING) -> Any:
        """Return the module's output, attended to; ``frame`` is what the module's call holds."""
        fresh = is_fresh(output)  # by itself: as an argument of the call below the output would have one holder more
        return self._attended(output, frame, fresh)

    def _attended(self, output: Any, frame: context.Frame, dies: bool) -> Any:
        """Return the output attended to, in its own memory if nobody else will see what was there (``dies``).

        A network's maps are so large that new memory for one is taken from the system, page by page, which takes longer
        than to attend to it.
        """
        entries: Any = self._modules.values()
        in_place = dies and all([may_replace_calls(entry, entry.layer) for entry in entries])  # noqa: C419 - sooner
        for entry in entries:
            if entry.spot.path:
                output = _attended(output, entry.spot.path, entry, frame)
            elif in_place:
                output = entry(output, *entry.receive(output, frame), in_place=True)
            else:
                output = entry(output, *entry.receive(output, frame))
        return output

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return ``x`` as it is: some models run whatever ``children()`` yields, and a stack is no stage of them."""
        return x

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse ``torch.jit.script``, which asks each module for this method."""
        raise TypeError(
            "a model with attached attention cannot be compiled by torch.jit.script: use torch.jit.trace, torch.export "
            "or torch.compile"
        )

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        if not any(key.startswith(prefix) for key in state_dict):
            state_dict.update(self.state_dict(prefix=prefix, keep_vars=True))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class SlotStack(AttentionStack):
    """A stack in a model's own slot for an attention, such as ``se`` of timm's blocks, where the model calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.native: tuple[nn.Module | str | None] = (None,)  # in a tuple, so that it is not registered as a child
        self.registered = True

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return ``x``, attended to."""
        last_use = is_last_use(x)  # by itself: as an argument of the call below it would have one holder more
        return self._attended(x, _NOTHING, last_use and may_replace_calls(self))


def _attended(output: Any, path: tuple[int | str, ...], entry: Any, frame: context.Frame) -> Any:
    """Return ``output`` with the tensor at ``path`` attended to; the caller's containers stay as they are."""
    if not path:
        return entry(output, *entry.receive(output, frame))
    key, rest = path[0], path[1:]
    new = _attended(output[key], rest, entry, frame)
    if isinstance(output, dict):
        return type(output)({**output, key: new})
    items = [new if index == key else item for index, item in enumerate(output)]
    return output._make(items) if hasattr(output, "_make") else type(output)(items)
