"""Call the kernels of LLAM on maps of one shape, dtype and memory format; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

from torch import Tensor

from attnzoo.kernels.cpu import launch


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
    """Fill ``logits`` with ``a + b``, and ``y`` with ``[relu](x * gate + shortcut)``.

    The gate is ``sigmoid(a + b)``, blended with 1.
    """
    launch.run("llam_gate", x, x, a, b, shortcut, _share(blend), int(relu), y, logits)


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
    launch.run("llam_gate_backward", x, dy, x, logits, y, _share(blend), dx, d_logits, d_shortcut, d_blend)


def _share(blend: Tensor | None) -> float:
    return 1.0 if blend is None else blend.item()
