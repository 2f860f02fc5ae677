"""Multiply every element of a map by the sigmoid of a sum of two maps, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnzoo.ops import autograd, dispatch, eligibility
from attnzoo.ops.gates.apply_gates import blended


def llam_gate(
    x: Tensor,
    a: Tensor,
    b: Tensor | None = None,
    *,
    blend: Tensor | None = None,
    shortcut: Tensor | None = None,
    relu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Return ``x * gate`` with ``gate = sigmoid(a + b)``, plus ``shortcut``, through a ReLU if ``relu``.

    With a blend the gate counts as ``(1 - blend) + blend * gate``. ``x`` and ``a + b`` are saved for the backward pass,
    with ``relu`` also the output; the gate is not.

    Args:
        x: Floating map (B, C, H, W).
        a: Logits of the shape of ``x``.
        b: Logits of the shape of ``x`` to add to ``a``, or None.
        blend: Scalar of shape () or (1,): 0 is the identity, 1 or None the unblended gate.
        shortcut: Map of the shape of ``x`` to add to the gated map.
        relu: Whether to apply a ReLU at the end.
        backend: Overrides ``attnzoo.ops.backend`` for this call. Kernels need all maps in one dtype.

    Returns:
        A tensor of the shape and dtype of ``x``.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If ``x`` is no map, or another map differs from it in shape.
    """
    if x.dim() != 4:
        raise ValueError(f"x must be a map (B, C, H, W), got {tuple(x.shape)}")
    others = {name: t for name, t in (("a", a), ("b", b), ("shortcut", shortcut)) if t is not None}
    for name, tensor in others.items():
        if tensor.shape != x.shape:
            raise ValueError(f"{name} must have the shape of x, {tuple(x.shape)}, got {tuple(tensor.shape)}")
    unfit = None if all(t.dtype == x.dtype for t in others.values()) else "all maps must have the dtype of x"
    if eligibility.choose("llam_gate", x, backend, unfit, others=(*others.values(), blend)) == "torch":
        return reference(x, a, b, blend, shortcut, relu)
    x = autograd.dense(x)
    inputs = (x, a, b, blend, shortcut, relu)
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        y: Tensor = _Gate.apply(*inputs)[0]
        return y
    return dispatch.operator("llam_gate", _forward)(*inputs, False)[0]


def reference(
    x: Tensor, a: Tensor, b: Tensor | None, blend: Tensor | None, shortcut: Tensor | None, relu: bool
) -> Tensor:
    """Return the same as ``llam_gate``, computed by torch."""
    gate = (a if b is None else a + b).sigmoid()
    y = (x * (gate if blend is None else blended(gate, blend))).to(x.dtype)
    if shortcut is not None:
        y = (y + shortcut).to(x.dtype)
    return y.relu() if relu else y


torch.library.define(
    "attnzoo::llam_gate",
    "(Tensor x, Tensor a, Tensor? b, Tensor? blend, Tensor? shortcut, bool relu, bool keep) -> (Tensor, Tensor)",
)
torch.library.define(
    "attnzoo::llam_gate_backward",
    "(Tensor dy, Tensor x, Tensor logits, Tensor? blend, Tensor? y, bool shortcut) -> (Tensor, Tensor, Tensor, Tensor)",
)


def _outputs(
    x: Tensor, a: Tensor, b: Tensor | None, blend: Tensor | None, shortcut: Tensor | None, relu: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    """Return empty tensors for the result and for ``a + b``; the second has no elements unless it must be saved."""
    return torch.empty_like(x), torch.empty_like(x) if keep and b is not None else x.new_empty(0)


torch.library.register_fake("attnzoo::llam_gate", _outputs)


def _forward(
    x: Tensor, a: Tensor, b: Tensor | None, blend: Tensor | None, shortcut: Tensor | None, relu: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    launch = dispatch.launcher(x, "gates.launch_llam")
    x = autograd.dense(x)
    y, logits = _outputs(x, a, b, blend, shortcut, relu, keep)
    b = None if b is None else autograd.like(b, x)
    shortcut = None if shortcut is None else autograd.like(shortcut, x)
    launch.llam_gate(x, autograd.like(a, x), b, blend, shortcut, relu, y, logits if logits.numel() else None)
    return y, logits


torch.library.impl("attnzoo::llam_gate", ("CPU", "CUDA"), _forward)


def _gradients(
    dy: Tensor, x: Tensor, logits: Tensor, blend: Tensor | None, y: Tensor | None, shortcut: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return empty tensors for the gradients; without a ReLU the shortcut's gradient is ``dy`` and needs none."""
    separate = shortcut and y is not None
    d_blend = x.new_empty((0,) if blend is None else (), dtype=torch.float32)
    return torch.empty_like(x), torch.empty_like(x), torch.empty_like(x) if separate else x.new_empty(0), d_blend


torch.library.register_fake("attnzoo::llam_gate_backward", _gradients)


def _backward(
    dy: Tensor, x: Tensor, logits: Tensor, blend: Tensor | None, y: Tensor | None, shortcut: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    launch = dispatch.launcher(x, "gates.launch_llam")
    x = autograd.dense(x)
    dx, d_logits, d_shortcut, d_blend = _gradients(dy, x, logits, blend, y, shortcut)
    dy, logits = autograd.like(dy, x), autograd.like(logits, x)
    y = None if y is None else autograd.like(y, x)
    outputs = (dx, d_logits, d_shortcut if d_shortcut.numel() else None, None if blend is None else d_blend)
    launch.llam_gate_backward(dy, x, logits, blend, y, *outputs)
    return dx, d_logits, d_shortcut, d_blend


torch.library.impl("attnzoo::llam_gate_backward", ("CPU", "CUDA"), _backward)
autograd.differentiable_once("attnzoo::llam_gate_backward")


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, a, b, blend, shortcut, relu, *_ = inputs
    y, logits = output
    ctx.save_for_backward(x, a if b is None else logits, blend, y if relu else None)
    ctx.has_b, ctx.has_shortcut = b is not None, shortcut is not None
    ctx.set_materialize_grads(False)


def _rule(ctx: Any, dy: Tensor | None, carried: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, a, b, blend and shortcut; ``carried`` is the gradient of the output ``a + b``."""
    x, logits, blend, y = ctx.saved_tensors
    d_blend = None
    if dy is None:
        dx = d_shortcut = None
        d_logits = carried
    elif autograd.needs_reference(dy, carried):
        d_shortcut = dy if y is None else torch.where(y.detach() <= 0, 0, dy)
        dx, d_logits, d_blend = autograd.reference_gradients(
            lambda x, logits, blend: (reference(x, logits, None, blend, None, False),), [x, logits, blend], [d_shortcut]
        )
        if carried is not None:
            d_logits = carried if d_logits is None else d_logits + carried
    else:
        inputs = (dy, x, logits, blend, y, ctx.has_shortcut)
        dx, d_logits, d_shortcut, d_blend = dispatch.operator("llam_gate_backward", _backward)(*inputs)
        d_shortcut = dy if y is None else d_shortcut
        d_blend = None if blend is None else d_blend.to(blend.dtype).view(blend.shape)
    return dx, d_logits, d_logits if ctx.has_b else None, d_blend, d_shortcut if ctx.has_shortcut else None


torch.library.register_autograd(
    "attnzoo::llam_gate", lambda ctx, dy, carried: (*_rule(ctx, dy, carried), None, None), setup_context=_save
)


class _Gate(torch.autograd.Function):
    """The operator with its autograd rule, without the time that torch's dispatcher takes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        a: Tensor,
        b: Tensor | None,
        blend: Tensor | None,
        shortcut: Tensor | None,
        relu: bool,
    ) -> tuple[Tensor, Tensor]:
        outputs = dispatch.operator("llam_gate", _forward)(x, a, b, blend, shortcut, relu, True)
        _save(ctx, (x, a, b, blend, shortcut, relu), outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, carried: Tensor | None) -> tuple[Tensor | None, ...]:
        return (*_rule(ctx, dy, carried), None)
