"""The child ``attnzoo`` that an attached module has: the layers of its output, in order, and the taps on it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from attnzoo.attach.fresh import is_fresh, is_last_use
from attnzoo.ops import why_called

CHILD = "attnzoo"
MAPS = "attention_maps"


class Tap:
    """Where one module leaves a tensor that an attention elsewhere takes."""

    def __init__(self) -> None:
        self.value: Tensor | None = None


class AttentionStack(nn.ModuleDict):
    """Attached layers by their number, each applied to what the one before it returned.

    A plain checkpoint, one that has nothing of a stack, loads strictly: the stack keeps what it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_taps: list[Tap] = []
        self.output_taps: list[Tap] = []
        self.maps_taps: list[Tap] = []

    @property
    def in_use(self) -> bool:
        """Whether anything is left that needs the module to be swapped."""
        return bool(len(self) or self.input_taps or self.output_taps or self.maps_taps)

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what the module is called with, before it runs; takes the attention maps out of ``kwargs``."""
        for tap in self.input_taps:
            tap.value = args[0] if args else next(iter(kwargs.values()))
        if self.maps_taps:
            maps = kwargs.pop(MAPS, None)
            for tap in self.maps_taps:
                tap.value = maps

    def attend(self, output: Any) -> Any:
        """Return the module's output, attended to."""
        fresh = is_fresh(
            output
        )  # on a line of its own: as an argument of the call below it would be referred to once more
        return self._attended(output, fresh)

    def _attended(self, output: Any, dies: bool) -> Any:
        """Return the output attended to, in its own memory if nobody else will see what was there (``dies``).

        A network's maps are so large that new memory for one is taken from the system, page by page, which takes longer
        than to attend to it.
        """
        entries: Any = self._modules.values()
        in_place = dies and not any(entry.is_observed() for entry in entries)
        for entry in entries:
            output = _attended(output, entry.spot.path, entry, in_place)
        for tap in self.output_taps:
            tap.value = output
        for tap in self.maps_taps:
            tap.value = None
        return output

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return ``x`` as it is: some models run whatever ``children()`` yields, and a stack is no stage of them."""
        return x

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
        last_use = is_last_use(x) and why_called(self) is None
        return self._attended(x, last_use)


def _attended(output: Any, path: tuple[int | str, ...], entry: Any, in_place: bool) -> Any:
    """Return ``output`` with the tensor at ``path`` attended to; the caller's containers stay as they are."""
    if not path:
        return entry(output, *entry.receive(), in_place=in_place)
    key, rest = path[0], path[1:]
    new = _attended(output[key], rest, entry, False)
    if isinstance(output, dict):
        return type(output)({**output, key: new})
    items = [new if index == key else item for index, item in enumerate(output)]
    return output._make(items) if hasattr(output, "_make") else type(output)(items)
