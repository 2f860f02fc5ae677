"""What a model is called with: any arguments, and the image among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from attnzoo.attach.tensors import replace


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arguments of a model's forward.

    Attributes:
        args: Positional arguments: tensors, or lists, tuples and mappings that hold them.
        kwargs: Keyword arguments.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Any) -> Inputs:
        """Return the arguments that ``example`` stands for.

        Args:
            example: A tensor, the only argument; a tuple or list of positional arguments; a mapping of keyword
                arguments; or a pair of both, a tuple and a mapping.
        """
        if isinstance(example, Inputs):
            return example
        if isinstance(example, Mapping):
            return cls((), dict(example))
        if isinstance(example, tuple) and len(example) == 2:
            args, kwargs = example
            if isinstance(args, tuple) and isinstance(kwargs, Mapping):
                return cls(args, dict(kwargs))
        return cls(tuple(example)) if isinstance(example, tuple | list) else cls((example,))

    def call(self, model: nn.Module) -> Any:
        """Return what ``model`` returns for these arguments."""
        return model(*self.args, **self.kwargs)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """Return the same arguments with ``change(tensor)`` in place of each floating tensor."""
        args, kwargs = replace((self.args, dict(self.kwargs)), lambda _, tensor: change(tensor))
        return Inputs(args, kwargs)

    def tensors(self) -> list[Tensor]:
        """Return all tensors, in order."""
        return list(_tensors((self.args, self.kwargs)))

    @property
    def image(self) -> Tensor | None:
        """The first floating tensor of at least three axes, else the first tensor of all; None without tensors."""
        tensors = self.tensors()
        images = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.dim() >= 3]
        return next(iter([*images, *tensors]), None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
