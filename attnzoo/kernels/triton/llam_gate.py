"""y = relu(x * sigmoid(a + b) + shortcut) over maps that lie in memory alike, in one pass; and its gradient in one."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton.rows import TILE, divided


@triton.jit
def _llam_gate_fwd_kernel(
    x_ptr, a_ptr, b_ptr, shortcut_ptr, y_ptr, logits_ptr, size_div,
    RELU: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size_div * DIV
    logits = tl.load(a_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if b_ptr is not None:
        logits += tl.load(b_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if logits_ptr is not None:
        tl.store(logits_ptr + at, logits.to(logits_ptr.dtype.element_ty), mask=mask)
    y = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32) * tl.sigmoid(logits)
    if shortcut_ptr is not None:
        y += tl.load(shortcut_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        y = tl.where(y <= 0, 0.0, y)  # NaN stays
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _llam_gate_bwd_kernel(
    dy_ptr, x_ptr, logits_ptr, y_ptr, dx_ptr, d_logits_ptr, d_shortcut_ptr, size_div,
    DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """There is a ``y`` if a ReLU follows."""
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
    dx = dy * gate
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    d_logits = dx * x * (1.0 - gate)
    tl.store(d_logits_ptr + at, d_logits.to(d_logits_ptr.dtype.element_ty), mask=mask)


def llam_gate(
    x: Tensor, a: Tensor, b: Tensor | None, shortcut: Tensor | None, relu: bool, y: Tensor, logits: Tensor | None
) -> None:
    """Fill ``y`` with ``x * sigmoid(a + b) + shortcut``, behind a ReLU if ``relu``, and ``logits`` with ``a + b``."""
    size_div, divisor = divided(x.numel())
    with torch.cuda.device_of(x):
        _llam_gate_fwd_kernel[(triton.cdiv(x.numel(), TILE),)](
            x, a, b, shortcut, y, logits, size_div, RELU=relu, DIV=divisor, BLOCK=TILE
        )


def llam_gate_backward(
    dy: Tensor, x: Tensor, logits: Tensor, y: Tensor | None, dx: Tensor, d_logits: Tensor, d_shortcut: Tensor | None
) -> None:
    """Fill the gradients; ``y`` is what the ReLU returned, if there was one."""
    size_div, divisor = divided(x.numel())
    with torch.cuda.device_of(x):
        _llam_gate_bwd_kernel[(triton.cdiv(x.numel(), TILE),)](
            dy, x, logits, y, dx, d_logits, d_shortcut, size_div, DIV=divisor, BLOCK=TILE
        )
