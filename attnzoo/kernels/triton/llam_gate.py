"""y = relu(x * gate + shortcut) with gate = sigmoid(a + b) blended with 1, and its gradient, in one pass each.

All maps have the same memory format.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton.rows import TILE, divided


@triton.jit
def _blended(gate, blend_ptr):
    """Return the blended gate: exactly 1 at a blend of 0, exactly ``gate`` at a blend of 1."""
    if blend_ptr is not None:
        share = tl.load(blend_ptr).to(tl.float32)
        gate = share * gate + (1.0 - share)
    return gate


@triton.jit
def _llam_gate_fwd_kernel(
    x_ptr, a_ptr, b_ptr, blend_ptr, shortcut_ptr, y_ptr, logits_ptr, size_div,
    RELU: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size_div * DIV
    logits = tl.load(a_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if b_ptr is not None:
        logits += tl.load(b_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if logits_ptr is not None:
        tl.store(logits_ptr + at, logits.to(logits_ptr.dtype.element_ty), mask=mask)
    y = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32) * _blended(tl.sigmoid(logits), blend_ptr)
    if shortcut_ptr is not None:
        y += tl.load(shortcut_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        y = tl.where(y <= 0, 0.0, y)  # NaN stays
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _llam_gate_bwd_kernel(
    dy_ptr, x_ptr, logits_ptr, blend_ptr, y_ptr, dx_ptr, d_logits_ptr, d_shortcut_ptr, blend_parts_ptr, size_div,
    DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``y`` is given if there was a ReLU. Each program writes its part of the blend's gradient."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size_div * DIV
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if y_ptr is not None:
        y = tl.load(y_ptr + at, mask=mask, other=0.0).to(tl.float32)
        dy = tl.where(y <= 0, 0.0, dy)
    if d_shortcut_ptr is not None:
        tl.store(d_shortcut_ptr + at, dy.to(d_shortcut_ptr.dtype.element_ty), mask=mask)
    gate = tl.sigmoid(tl.load(logits_ptr + at, mask=mask, other=0.0).to(tl.float32))
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dx = dy * _blended(gate, blend_ptr)
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    d_logits = dy * gate * x * (1.0 - gate)
    if blend_ptr is not None:
        d_logits *= tl.load(blend_ptr).to(tl.float32)
        tl.store(blend_parts_ptr + tl.program_id(0), tl.sum(tl.where(mask, dy * x * (gate - 1.0), 0.0)))
    tl.store(d_logits_ptr + at, d_logits.to(d_logits_ptr.dtype.element_ty), mask=mask)


def llam_gate(
    x: Tensor,
    a: Tensor,
    b: Tensor | None,
    blend: Tensor | None,
    shortcut: Tensor | None,
    relu: bool,
    y: Tensor,
    logits: Tensor | None,
) -> None:
    """Fill ``y`` with ``[relu](x * gate + shortcut)``, and ``logits`` with ``a + b``."""
    size_div, divisor = divided(x.numel())
    with torch.cuda.device_of(x):
        _llam_gate_fwd_kernel[(triton.cdiv(x.numel(), TILE),)](
            x, a, b, blend, shortcut, y, logits, size_div, RELU=relu, DIV=divisor, BLOCK=TILE
        )


def llam_gate_backward(
    dy: Tensor,
    x: Tensor,
    logits: Tensor,
    blend: Tensor | None,
    y: Tensor | None,
    dx: Tensor,
    d_logits: Tensor,
    d_shortcut: Tensor | None,
    d_blend: Tensor | None,
) -> None:
    """Fill the gradients; ``y`` is the output of the ReLU, None without one."""
    size_div, divisor = divided(x.numel())
    programs = triton.cdiv(x.numel(), TILE)
    parts = None if d_blend is None else d_blend.new_empty(programs)
    with torch.cuda.device_of(x):
        _llam_gate_bwd_kernel[(programs,)](
            dy, x, logits, blend, y, dx, d_logits, d_shortcut, parts, size_div, DIV=divisor, BLOCK=TILE
        )
    if d_blend is not None and parts is not None:
        torch.sum(parts, 0, out=d_blend)
