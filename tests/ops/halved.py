"""Tensors that hold no memory of their own, as quantised and sharded ones do."""

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
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return cls(args[0].held)
        args, kwargs = pytree.tree_map_only(cls, lambda t: t.held.float(), (args, kwargs or {}))
        return func(*args, **kwargs)


class HalvedWeight(Halved):
    """One that knows what layers make of it and little else, as most such weights do."""

    UNKNOWN = frozenset(
        {
            torch.ops.aten.view.default,
            torch.ops.aten.reshape.default,
            torch.ops.aten.permute.default,
            torch.ops.aten.slice.Tensor,
            torch.ops.aten.split_with_sizes.default,
            torch.ops.aten.index.Tensor,
            torch.ops.aten._to_copy.default,
            torch.ops.aten.dequantize.self,
        }
    )

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in cls.UNKNOWN:
            raise NotImplementedError(f"{func} is none of the operators that {cls.__name__} has")
        return super().__torch_dispatch__(func, types, args, kwargs)
