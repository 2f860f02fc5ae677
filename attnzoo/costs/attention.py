"""The operations of torch's attention on CPUs, which torch before 2.15 counts on accelerators only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def cpu_attention() -> dict[Any, Callable[..., int]]:
    """Return what ``FlopCounterMode`` takes as ``custom_mapping``; nothing where torch has its own formula."""
    from torch.utils.flop_counter import flop_registry, sdpa_flop_count

    def formula(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
    return {} if operator in flop_registry else {operator: formula}
