"""Multiply a map by gates, optionally blended with the identity or added to the map itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def apply_gates(x: Tensor, gates: Sequence[Tensor], *, blend: Tensor | None = None, residual: bool = False) -> Tensor:
    """Return ``x * g``, ``x * g + x`` or ``x * (1 + blend * (g - 1))``, where ``g`` is the product of the gates.

    The blend is folded into the gate, so that it costs no pass over ``x`` and ``blend = 0`` returns ``x`` bit for bit
    wherever the gates are finite.

    Args:
        x: Map of any shape.
        gates: Gates that broadcast to ``x``, such as (B, C, 1, 1) and (B, 1, H, W); at least one.
        blend: Scalar ``a``: 0 is the identity, 1 the plain gate.
        residual: Add ``x``, as eq. (3) of TRA-Net does.

    Returns:
        A tensor of the shape and dtype of ``x``.
    """
    first, *others = gates
    if blend is None and not residual:
        x = x * first
        for gate in others:
            x = x * gate
        return x
    factor = first
    for gate in others:
        factor = factor * gate
    if residual:
        factor = factor + 1
    if blend is not None:
        factor = blend * (factor - 1) + 1
    return x * factor.to(x.dtype)
