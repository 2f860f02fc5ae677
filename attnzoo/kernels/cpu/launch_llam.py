"""Calls the kernels of LLAM on maps of one shape, dtype and order in memory; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

from torch import Tensor

from attnzoo.kernels.cpu import launch


def llam_gate(
    x: Tensor, a: Tensor, b: Tensor | None, shortcut: Tensor | None, relu: bool, y: Tensor, logits: Tensor | None
) -> None:
    """Fill ``y`` with ``x * sigmoid(a + b) + shortcut``, behind a ReLU if ``relu``, and ``logits`` with ``a + b``."""
    launch.run("llam_gate", x, x, a, b, shortcut, int(relu), y, logits)


def llam_gate_backward(
    dy: Tensor, x: Tensor, logits: Tensor, y: Tensor | None, dx: Tensor, d_logits: Tensor, d_shortcut: Tensor | None
) -> None:
    """Fill the gradients; ``y`` is what the ReLU returned, if there was one."""
    launch.run("llam_gate_backward", x, dy, x, logits, y, dx, d_logits, d_shortcut)
