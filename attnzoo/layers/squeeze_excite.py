r"""Squeeze-and-excitation: J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018.

.. math::
    z_c = \frac{1}{HW} \sum_{i,j} x_c(i, j), \qquad
    gate = \sigma(W_2\,\delta(W_1 z + b_1) + b_2), \qquad
    y = x \cdot gate

With ``residual=True`` the output is :math:`x \cdot gate + x`, eq. (3) of Y. Xia, "Upper, Middle and Lower Region
Learning for Facial Action Unit Detection", 2020 (TRA-Net).

Parameter names and shapes are those of timm's ``SEModule``, so that its weights load strictly.

Differences from the paper: none. (The bottleneck is rounded to ``rd_divisor``, 1 by default.)
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import apply_gates, global_pool, note_gates
from attnzoo.ops.dense.convolution import pointwise
from attnzoo.ops.gates.gate_images import BOTTLENECK, gate_images, gating
from attnzoo.ops.reading import Row
from attnzoo.registry import register

fx.wrap("apply_gates")
fx.wrap("global_pool")

_ROWS = {"": Row(), **BOTTLENECK, "gate": Row((nn.Sigmoid,))}
_PARTS = {"channel": True, "maxima": False, "spatial": False, "normed": False}
_GATINGS = [gating(_ROWS, **_PARTS, residual=residual) for residual in (False, True)]


@register(
    "se",
    kind="unary",
    paper="Hu, Shen, Sun, Squeeze-and-Excitation Networks, CVPR 2018",
    summary="Channel gate from the global average through a two-layer bottleneck.",
)
class SqueezeExcite(Layer):
    """Gate the channels of a map by a bottleneck on their global averages.

    Args:
        channels: Channels C of the map.
        rd_ratio: Bottleneck width over ``channels``, in (0, 1].
        rd_channels: Bottleneck width; overrides ``rd_ratio``.
        rd_divisor: The width is rounded to a multiple of this.
        bias: Whether the two layers have biases.
        residual: Add the input to the output (TRA-Net, eq. 3).
        act_layer: Activation between the two layers.
        gate_layer: Gate function, to (0, 1).
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range.

    Example:
        >>> SqueezeExcite(64)(torch.zeros(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """

    def __init__(
        self,
        channels: int,
        *,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        bias: bool = True,
        residual: bool = False,
        act_layer: type[nn.Module] = nn.ReLU,
        gate_layer: type[nn.Module] = nn.Sigmoid,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        self.residual = checks.flag("residual", residual)
        hidden = checks.reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
        bias = checks.flag("bias", bias)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias, device=device, dtype=dtype)
        self.act = act_layer()
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias, device=device, dtype=dtype)
        self.gate = gate_layer()

    def reset_parameters(self) -> None:
        """Initialise the parameters again, by torch's rule for convolutions."""
        self.fc1.reset_parameters()
        self.fc2.reset_parameters()

    def gates(self, x: Tensor) -> tuple[Tensor]:
        """Return the channel gate (B, C, 1, 1) of ``x`` (B, C, H, W)."""
        return self._gates(x)[0]

    def _gates(self, x: Tensor) -> tuple[tuple[Tensor], Tensor]:
        """Return the gate, and ``x`` as ``global_pool`` returns it: the caller must use it in place of the input."""
        checks.feature_map("x", x, self.channels, like=next(self.parameters(), None))
        pooled, x = global_pool(x, maximum=False)
        logits = pointwise(self.fc2, self.act(pointwise(self.fc1, pooled[0])))  # (B, C)
        gate = self.gate(logits)[:, :, None, None]
        note_gates(self, {"channel": gate})
        return (gate,), x

    def forward(
        self,
        x: Tensor,
        *,
        blend: Tensor | None = None,
        shortcut: Tensor | None = None,
        relu: bool = False,
        in_place: bool = False,
    ) -> Tensor:
        """Return the gated map; as a residual block needs it, with a shortcut added and a ReLU applied if asked for.

        Args:
            x: Map (B, C, H, W) of the parameters' dtype.
            blend: Scalar ``a``, of shape () or (1,): the gate counts as ``(1 - a) + a * gate``.
            shortcut: Map of the shape of ``x`` to add to the gated map.
            relu: Whether to apply a ReLU at the end. Blend, shortcut and ReLU take no further pass over the map.
            in_place: Whether ``x`` may be overwritten if no gradient is required: the caller no longer needs it.

        Returns:
            Map of the shape, dtype, device and memory format of ``x``.

        Raises:
            RuntimeError: If the parameters are on another device.
            TypeError: If ``x`` is no floating tensor of the parameters' dtype.
            ValueError: If a shape does not fit.
        """
        if shortcut is None and not relu and not torch.compiler.is_dynamo_compiling():
            y = gate_images(x, self, _GATINGS[self.residual], blend=blend, in_place=in_place)
            if y is not None:
                return y
        gates, x = self._gates(x)
        return apply_gates(x, gates, blend=blend, residual=self.residual, shortcut=shortcut, relu=relu)

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}, residual={self.residual}"
