r"""Lossless attention module (LLA-Net).

C. Wang, R. Hu, M. Hu, J. Liu, T. Ren, S. He, M. Jiang, J. Miao, "Lossless Attention in Convolutional Networks for
Facial Expression Recognition in the Wild", FG 2020.

.. math::
    F_{cat} = [F_{pre} : F_{cur}], \qquad M = \sigma(conv(F_{cat})), \qquad F' = F_{cur} \otimes M

The convolution has 2C inputs and C outputs and no bottleneck. It is computed as the sum of two convolutions, one on
each map, without writing the concatenated tensor.

Differences from the paper: none in the equations. (The caption of its Fig. 2 puts the sigmoid after the product; the
equations do not, and are followed.) The paper does not print the kernel's size; "cross-channel and cross-spatial" is
read as 3x3, and 1x1 is an option.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import llam_gate, note_gates
from attnzoo.ops.dense.convolution import convolve_pair
from attnzoo.ops.gate_listener import has_listener
from attnzoo.registry import register

fx.wrap("llam_gate")


@register(
    "llam",
    kind="paired",
    paper="Wang, Hu, Hu, Liu, et al., Lossless Attention in Convolutional Networks, FG 2020",
    summary="Gate for every element, from this and the previous feature map, without reduction.",
    exceptions={
        "infinity stays visible": "the previous map acts through a sigmoid alone, which makes 0 or 1 of infinity: the "
        "equation's own doing; NaN, and infinity in the current map, are seen"
    },
)
class LLAM(Layer):
    """Gate every element of the current map by a convolution on the previous and the current map.

    Args:
        channels: Channels C of each of the two maps.
        kernel_size: Odd kernel of the convolution; the paper's is 3.
        bias: Whether the convolution has a bias.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range.

    Example:
        >>> previous, current = torch.zeros(2, 64, 7, 7), torch.ones(2, 64, 7, 7)
        >>> LLAM(64)(previous, current).shape
        torch.Size([2, 64, 7, 7])
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        self.conv = nn.Conv2d(
            2 * channels,
            channels,
            checks.odd_kernel("kernel_size", kernel_size),
            padding="same",
            bias=checks.flag("bias", bias),
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Initialise the parameters again, by torch's rule for convolutions."""
        self.conv.reset_parameters()

    def gates(self, previous: Tensor, current: Tensor) -> tuple[Tensor]:
        """Return the gate (B, C, H, W) of ``current``."""
        gate = _gate(*self._logits(previous, current))
        note_gates(self, {"element": gate})
        return (gate,)

    def _logits(self, previous: Tensor, current: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return two maps (B, C, H, W) whose sum is the sigmoid's input, or one map and None."""
        checks.feature_map("previous", previous, self.channels, like=self.conv.weight)
        checks.feature_map("current", current, self.channels, like=self.conv.weight)
        if not checks.is_symbolic(previous) and previous.shape != current.shape:
            raise ValueError(
                f"previous must have the shape of current, {tuple(current.shape)}, got {tuple(previous.shape)}"
            )
        return convolve_pair(self.conv, previous, current)

    def forward(
        self,
        previous: Tensor,
        current: Tensor,
        *,
        blend: Tensor | None = None,
        shortcut: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """Return the gated current map; with a shortcut added and a ReLU applied, as in residual blocks, if asked for.

        Args:
            previous: F_pre (B, C, H, W), the map before the current one.
            current: F_cur (B, C, H, W).
            blend: Scalar ``a``, of shape () or (1,): the gate counts as ``(1 - a) + a * M``.
            shortcut: Map of the shape of ``current`` to add to F'.
            relu: Whether to apply a ReLU at the end. Blend, shortcut and ReLU take no further pass over the map.

        Returns:
            Map of the shape, dtype, device and memory format of ``current``.

        Raises:
            TypeError: If a map is no floating tensor of the parameters' dtype.
            ValueError: If the shapes do not fit.
        """
        logits = self._logits(previous, current)
        if has_listener():
            with torch.no_grad():
                note_gates(self, {"element": _gate(*logits)})
        return llam_gate(current, *logits, blend=blend, shortcut=shortcut, relu=relu)

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}"


def _gate(first: Tensor, second: Tensor | None) -> Tensor:
    return (first if second is None else first + second).sigmoid()
