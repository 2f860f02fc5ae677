"""Determine which axes of a model's inputs can be dynamic in the exported graph, by running the model at other shapes.

torch's own check is not sufficient: if a model checks its input by an assertion (a position embedding of a fixed
length), torch exports a graph with a dynamic axis that fails at other lengths. So the model is run at another batch and
another size first; if it raises, the axis is fixed, and the error's message is the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attnzoo import checks
from attnzoo.attach.find.probe import REFUSALS

Free = Literal["batch", "size"]
FREE: tuple[Free, ...] = ("batch", "size")
"""What can be dynamic: the first axis of every input; height and width of every input (B, C, H, W)."""
Arguments = tuple[Any, ...]

_STRIDE = 32  # most networks halve their maps five times


@dataclass(frozen=True)
class Axes:
    """The arguments for tracing, and which of their axes are dynamic.

    Attributes:
        example: Arguments of the model's forward.
        others: Arguments of other shapes, which the exported graph must support as well.
        free: Which axes are dynamic: ``"batch"``, ``"size"``, both or none.
        fixed: A sentence for each requested axis that is not dynamic.
    """

    example: Arguments
    others: tuple[Arguments, ...]
    free: frozenset[str]
    fixed: tuple[str, ...]

    def dynamic_shapes(self) -> Any:
        """Return the argument ``dynamic_shapes`` of ``torch.export``."""
        return pytree.tree_map_only(Tensor, lambda x: dict.fromkeys(self._of(x), torch.export.Dim.AUTO), self.example)

    def _of(self, x: Tensor) -> Iterator[int]:
        if "batch" in self.free and x.dim() > 0:
            yield 0
        if "size" in self.free and x.dim() == 4:
            yield from (2, 3)


@torch.no_grad()
def find_axes(model: nn.Module, example: Arguments, wanted: Collection[Free]) -> Axes:
    """Run ``model`` at other shapes than the example's and return the axes that can be dynamic.

    Args:
        model: A model in evaluation mode.
        example: Arguments of its forward, with at least one tensor.
        wanted: The axes that are requested to be dynamic.

    Raises:
        ValueError: If the model does not run on the example.
    """
    for each in wanted:
        checks.one_of("dynamic", each, FREE)
    if refused := _refusal(model, example):
        raise ValueError(f"the model does not take the example of {shapes(example)}: {refused}")
    free, fixed, others = set[str](), [], list[Arguments]()
    batch = next(x.shape[0] for x in tensors(example) if x.dim() > 0)
    if "batch" in wanted:
        larger = resampled(example, batch=batch + 1)
        if refused := _refusal(model, larger):
            fixed.append(f"the batch is fixed at {batch}: {refused}")
        else:
            free.add("batch")
            others += [larger, resampled(example, batch=1)]
            if batch == 1:  # torch.export treats an axis of length 1 as constant
                example = larger
    if "size" in wanted and any(x.dim() == 4 for x in tensors(example)):
        larger = _enlarged(example)
        if refused := _refusal(model, larger):
            fixed.append(f"the size is fixed at {sizes(example)}: {refused}")
        else:
            free.add("size")
            others.append(larger)
    return Axes(example, tuple(others), frozenset(free), tuple(fixed))


def tensors(arguments: Any) -> list[Tensor]:
    """Return the tensors in arguments or outputs, in order."""
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]


def shapes(arguments: Any) -> str:
    """Return the shapes of all tensors as text for a message."""
    return ", ".join("x".join(map(str, x.shape)) for x in tensors(arguments))


def sizes(arguments: Any) -> str:
    """Return the different heights and widths of all maps as text for a message."""
    return ", ".join(dict.fromkeys(f"{x.shape[2]}x{x.shape[3]}" for x in tensors(arguments) if x.dim() == 4))


def resampled(arguments: Arguments, *, batch: int | None = None, stretch: Sequence[int] = (0, 0, 1, 1)) -> Arguments:
    """Return arguments of other shapes whose values are drawn from the given ones, so that binary maps stay binary.

    Args:
        arguments: Arguments with tensors.
        batch: New length of the tensors' first axis; None to keep it.
        stretch: For maps (B, C, H, W), the numbers added to height and width, then the factors of height and width.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(x: Tensor) -> Tensor:
        if x.dim() == 0:
            return x
        shape = [x.shape[0] if batch is None else batch, *x.shape[1:]]
        if x.dim() == 4:
            shape[2:] = [(shape[2] + stretch[0]) * stretch[2], (shape[3] + stretch[1]) * stretch[3]]
        index = torch.randint(x.numel(), shape, generator=generator)
        return x.detach().flatten()[index.to(x.device)]

    drawn: Arguments = pytree.tree_map_only(Tensor, draw, arguments)
    return drawn


def _enlarged(example: Arguments) -> Arguments:
    """Return the example at another size and aspect ratio; if its sizes are multiples of 32, the new ones are too."""
    sides = {side for x in tensors(example) if x.dim() == 4 for side in x.shape[2:]}
    if all(side % _STRIDE == 0 for side in sides):
        return resampled(example, stretch=(_STRIDE, 2 * _STRIDE, 1, 1))
    return resampled(example, stretch=(0, 0, 2, 3))


def _refusal(model: nn.Module, arguments: Arguments) -> str | None:
    try:
        model(*arguments)
    except REFUSALS as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None
