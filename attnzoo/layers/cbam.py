r"""CBAM: S. Woo, J. Park, J.-Y. Lee, I. S. Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018.

.. math::
    g_c = \sigma(MLP(avg_{HW}\,x) + MLP(max_{HW}\,x)), \qquad x' = x \cdot g_c

    g_s = \sigma(BN(conv_{7 \times 7}[avg_C\,x' : max_C\,x'])), \qquad y = x' \cdot g_s

With ``residual=True`` the output is :math:`y + x`, the variant that TRA-Net's Table 2 compares. With a blend ``a``
each gate counts as :math:`1 + a (g - 1)`, the channel gate also in :math:`x'`, from which the spatial gate is computed.

Differences from the paper: none. The normalisation after the 7x7 convolution is not in the text but in the authors'
code; ``norm_layer=None`` leaves it out and gives the convolution a bias instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import apply_gates, eligibility, note_gates, squeeze_channels, why_called
from attnzoo.ops.dense.convolution import planar, pointwise, sum_of_pointwise
from attnzoo.ops.gates.apply_gates import blended
from attnzoo.ops.gates.gate_images import BOTTLENECK, Gating, convolution, gate_images, gating
from attnzoo.ops.gates.global_pool import averages_and_maxima
from attnzoo.ops.reading import Row
from attnzoo.registry import register

fx.wrap("apply_gates")
fx.wrap("averages_and_maxima")
fx.wrap("blended")
fx.wrap("squeeze_channels")


class ChannelGate(nn.Module):
    """CBAM's channel half: a shared bottleneck on the average and the maximum over all pixels.

    Returns the gate (B, C, 1, 1), not the gated map.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        bias: bool,
        act_layer: type[nn.Module],
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias, device=device, dtype=dtype)
        self.act = act_layer()
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias, device=device, dtype=dtype)

    def forward(self, average: Tensor, maximum: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1) from the averages (B, C) and the maxima (B, C) over all pixels."""
        first, second = (self.act(pointwise(self.fc1, pooled)) for pooled in (average, maximum))
        gate: Tensor = sum_of_pointwise(self.fc2, first, second).sigmoid()[:, :, None, None]
        return gate


class SpatialGate(nn.Module):
    """CBAM's spatial half: one convolution on the average and the maximum over all channels.

    Returns the gate (B, 1, H, W), not the gated map.
    """

    def __init__(
        self,
        kernel_size: int,
        norm_layer: Callable[..., nn.Module] | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            2, 1, kernel_size, padding=kernel_size // 2, bias=norm_layer is None, device=device, dtype=dtype
        )
        self.norm = nn.Identity() if norm_layer is None else norm_layer(1, device=device, dtype=dtype)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the gate (B, 1, H, W) from ``planes`` (B, 2, H, W), the averages and the maxima over all channels."""
        logits = planar(self.conv, planes)
        if (
            not checks.is_symbolic(logits) and why_called(self.norm) is None
        ):  # torch's norm on the CPU does not check the device of its parameters
            eligibility.require_one_device(logits, (*self.norm.parameters(), *self.norm.buffers()))
        gate: Tensor = self.norm(logits).sigmoid()
        return gate


@functools.cache
def _gating(channel: bool, size: int, norm: type[nn.Module], residual: bool) -> Gating:
    """Return the gates of a CBAM.

    Args:
        channel: Whether there is a channel gate.
        size: Kernel size of the spatial gate; 0 for no spatial gate.
        norm: Class of the spatial gate's norm.
        residual: Whether the input is added to the output.
    """
    rows: dict[str, Row] = {"": Row()}
    if channel:
        rows["channel"] = Row((ChannelGate,))
        rows |= {f"channel.{name}": row for name, row in BOTTLENECK.items()}
    if size:
        rows["spatial"] = Row((SpatialGate,))
        rows |= {f"spatial.{name}": row for name, row in convolution(size, norm).items()}
    normed = size > 0 and norm is nn.BatchNorm2d
    return gating(rows, channel=channel, maxima=True, spatial=size > 0, normed=normed, residual=residual)


@register(
    "cbam",
    kind="unary",
    paper="Woo, Park, Lee, Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018",
    summary="Channel gate, then spatial gate, each from an average and a maximum.",
    exceptions={"train_one_value": "torch's BatchNorm2d refuses to train on a single value a channel (B = H = W = 1)"},
)
class CBAM(Layer):
    """Gate the channels of a map, then its pixels.

    Args:
        channels: Channels C of the map.
        rd_ratio: Bottleneck width of the channel gate over ``channels``, in (0, 1].
        rd_channels: Bottleneck width; overrides ``rd_ratio``.
        rd_divisor: The width is rounded to a multiple of this.
        bias: Whether the bottleneck's two layers have biases.
        kernel_size: Odd kernel of the spatial gate.
        channel: Whether there is a channel gate.
        spatial: Whether there is a spatial gate.
        residual: Add the input to the output.
        act_layer: Activation in the bottleneck.
        norm_layer: Normalisation after the spatial convolution, or None for a bias in its place.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range, or both halves are switched off.

    Example:
        >>> CBAM(64, spatial=False)(torch.zeros(2, 64, 7, 7)).shape
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
        kernel_size: int = 7,
        channel: bool = True,
        spatial: bool = True,
        residual: bool = False,
        act_layer: type[nn.Module] = nn.ReLU,
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        self.residual = checks.flag("residual", residual)
        if not (checks.flag("channel", channel) | checks.flag("spatial", spatial)):
            raise ValueError("channel and spatial are both False: switch on at least one half of CBAM")
        hidden = checks.reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
        checks.flag("bias", bias)
        checks.odd_kernel("kernel_size", kernel_size)
        self.channel = ChannelGate(channels, hidden, bias, act_layer, device, dtype) if channel else None
        self.spatial = SpatialGate(kernel_size, norm_layer, device, dtype) if spatial else None

    def reset_parameters(self) -> None:
        """Initialise the parameters again, by torch's rules for convolutions and normalisations."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - its only common base
                module.reset_parameters()

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the channel gate (B, C, 1, 1) and the spatial gate (B, 1, H, W) of ``x``, without one switched off."""
        return self._gates(x, None)[0]

    def _gates(self, x: Tensor, blend: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the gates, and ``x`` as the pooling operations return it.

        The caller must use this ``x``, so that the pooling's backward pass adds its gradient. The spatial gate is
        computed from the map times the blended channel gate.
        """
        checks.feature_map("x", x, self.channels, like=next(self.parameters(), None))
        channel = spatial = None
        if self.channel is not None:
            average, maximum, x = averages_and_maxima(x)
            channel = self.channel(average, maximum)
        if self.spatial is not None:
            gate = None if channel is None else blended(channel, blend)
            planes, x = squeeze_channels(x, gate)
            spatial = self.spatial(planes)
        gates = {name: gate for name, gate in (("channel", channel), ("spatial", spatial)) if gate is not None}
        note_gates(self, gates)
        return tuple(gates.values()), x

    def forward(self, x: Tensor, *, blend: Tensor | None = None, in_place: bool = False) -> Tensor:
        """Return the gated map.

        Args:
            x: Map (B, C, H, W) of the parameters' dtype.
            blend: Scalar ``a``, of shape () or (1,): each gate counts as ``(1 - a) + a * gate``.
            in_place: Whether ``x`` may be overwritten if no gradient is required: the caller no longer needs it.

        Returns:
            Map of the shape, dtype, device and memory format of ``x``.

        Raises:
            RuntimeError: If the parameters are on another device.
            TypeError: If ``x`` is no floating tensor of the parameters' dtype.
            ValueError: If its shape does not fit.
        """
        if not torch.compiler.is_dynamo_compiling():
            y = gate_images(x, self, self._gating_of_modules(), blend=blend, in_place=in_place)
            if y is not None:
                return y
        gates, x = self._gates(x, blend)
        return apply_gates(x, gates, blend=blend, residual=self.residual)

    def _gating_of_modules(self) -> Gating:
        """Return the gates that the present submodules form."""
        spatial: Any = self.spatial
        if spatial is None:
            return _gating(self.channel is not None, 0, nn.Identity, self.residual)
        size = getattr(spatial.conv, "kernel_size", (0,))[0]
        norm: Any = type(spatial.norm)
        return _gating(self.channel is not None, size, norm, self.residual)

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}, residual={self.residual}"
