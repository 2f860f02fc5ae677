"""The FLOPs of torch's fused attention on CPUs, which torch before 2.15 counts on accelerators only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def cpu_attention() -> dict[Any, Callable[..., int]]:
    """Return a ``custom_mapping`` for ``FlopCounterMode``; empty if torch has a formula for the operator."""
    from torch.utils.flop_counter import flop_registry, sdpa_flop_count

    def formula(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
    return {} if operator in flop_registry else {operator: formula}
