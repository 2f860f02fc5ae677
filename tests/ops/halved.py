"""A tensor that holds no memory of its own, as quantised and sharded weights are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class Halved(Tensor):
    """float32 by its dtype, float16 in memory, which its own operators alone know where to find."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        made: Self = Tensor._make_wrapper_subclass(cls, held.shape, dtype=torch.float32, device=held.device)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].held)
        args, kwargs = pytree.tree_map_only(cls, lambda t: t.held.float(), (args, kwargs or {}))
        return func(*args, **kwargs)
