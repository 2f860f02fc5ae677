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

    Raises:
        ValueError: If there is no gate, or one does not broadcast to ``x``.
    """
    if not gates:
        raise ValueError(f"gates must hold at least one tensor, got {gates!r}")
    for gate in gates:
        _check_gate(gate, x)
    first, *others = gates
    if blend is None and not residual:
        gated = x * first
        for gate in others:
            gated = gated * gate
        return gated.to(x.dtype)
    factor = first
    for gate in others:
        factor = factor * gate
    if residual:
        factor = factor + 1
    if blend is not None:
        factor = blend * (factor - 1) + 1
    return x * factor.to(x.dtype)


def _check_gate(gate: Tensor, x: Tensor) -> None:
    missing = x.dim() - gate.dim()
    if missing < 0 or any(size not in (given, 1) for size, given in zip(gate.shape, x.shape[missing:], strict=True)):
        raise ValueError(f"gates must broadcast to x {tuple(x.shape)}, got one of shape {tuple(gate.shape)}")
