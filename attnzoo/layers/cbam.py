r"""CBAM: S. Woo, J. Park, J.-Y. Lee, I. S. Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018.

.. math::
    g_c = \sigma(MLP(avg_{HW}\,x) + MLP(max_{HW}\,x)), \qquad x' = x \cdot g_c

    g_s = \sigma(BN(conv_{7 \times 7}[avg_C\,x' : max_C\,x'])), \qquad y = x' \cdot g_s

With ``residual=True`` the output is :math:`y + x`, the variant that TRA-Net's Table 2 compares.

Differences from the paper: none. The normalisation after the 7x7 convolution is not in the text but in the authors'
code; ``norm_layer=None`` leaves it out and gives the convolution a bias instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import apply_gates, global_pool, note_gates, squeeze_channels
from attnzoo.ops.convolution import planar, pointwise
from attnzoo.ops.eager import gated
from attnzoo.ops.gate_images import Bottleneck, Convolution, gate_images, with_gradient
from attnzoo.ops.named import make
from attnzoo.ops.spatial_conv import NATIVE_SIZES
from attnzoo.registry import register

fx.wrap("apply_gates")
fx.wrap("global_pool")
fx.wrap("squeeze_channels")


class ChannelGate(nn.Module):
    """CBAM's channel half: one bottleneck on both the average and the maximum over all pixels.

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

    def plain(self) -> Bottleneck | None:
        """Return the layers if they are the paper's, for which there is a kernel."""
        fc1, act, fc2 = self._modules.values()  # each look-up of a submodule would take as long as all of this
        if type(fc1) is nn.Conv2d and type(act) is nn.ReLU and type(fc2) is nn.Conv2d:
            return make(Bottleneck, (fc1, act, fc2, True))
        return None

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1) from ``pooled`` (2, B, C), the averages and the maxima over all pixels."""
        logits = pointwise(self.fc2, self.act(pointwise(self.fc1, pooled.flatten(0, 1))))  # (2B, C)
        average, maximum = logits.view(pooled.shape)
        gate: Tensor = (average + maximum).sigmoid()[:, :, None, None]
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

    def plain(self) -> Convolution | None:
        """Return the layers if there is a kernel for them."""
        conv, norm = self._modules.values()
        if type(conv) is not nn.Conv2d or conv.kernel_size[0] not in NATIVE_SIZES:
            return None
        if type(norm) is nn.BatchNorm2d or type(norm) is nn.Identity:
            return make(Convolution, (conv, norm))
        return None

    def forward(self, planes: Tensor) -> Tensor:
        """Return the gate (B, 1, H, W) from ``planes`` (B, 2, H, W), the averages and the maxima over all channels."""
        gate: Tensor = self.norm(planar(self.conv, planes)).sigmoid()
        return gate


_CHANNEL = (ChannelGate, type(None))
_SPATIAL = (SpatialGate, type(None))


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
        """Draw the weights anew, by torch's rules for convolutions and normalisations."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - its only common base
                module.reset_parameters()

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the channel gate (B, C, 1, 1) and the spatial gate (B, 1, H, W) of ``x``, those that are there."""
        return self._gates(x)[0]

    def _gates(self, x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the gates, and ``x`` to go on with."""
        checks.feature_map("x", x, self.channels, like=next(self.parameters(), None))
        channel = spatial = None
        if self.channel is not None:
            pooled, x = global_pool(x)
            channel = self.channel(pooled)
        if self.spatial is not None:
            planes, x = squeeze_channels(x, channel)
            spatial = self.spatial(planes)
        gates = {name: gate for name, gate in (("channel", channel), ("spatial", spatial)) if gate is not None}
        note_gates(self, gates)
        return tuple(gates.values()), x

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map.

        Args:
            x: Map (B, C, H, W) of the parameters' dtype.

        Returns:
            Map of the shape, dtype, device and memory format of ``x``.

        Raises:
            TypeError: If ``x`` is no floating tensor of the parameters' dtype.
            ValueError: If its shape does not fit.
        """
        if not torch.compiler.is_dynamo_compiling():  # whoever traces otherwise is seen by gate_images
            channel: Any = self._modules.get("channel")  # sooner than by their names
            spatial: Any = self._modules.get("spatial")
            if type(channel) in _CHANNEL and type(spatial) in _SPATIAL:
                made = gated(x, channel, spatial, self.channels, self.residual, True)
                if made is not None:
                    return with_gradient(x, made) if type(made) is tuple else made
                y = self._by_images(x, channel, spatial)
                if y is not None:
                    return y
        gates, x = self._gates(x)
        return apply_gates(x, gates, residual=self.residual)

    def _by_images(self, x: Tensor, channel: ChannelGate | None, spatial: SpatialGate | None) -> Tensor | None:
        bottleneck = None if channel is None else channel.plain()
        convolution = None if spatial is None else spatial.plain()
        if (bottleneck is None) != (channel is None) or (convolution is None) != (spatial is None):
            return None
        around = tuple(gate for gate in (channel, spatial) if gate is not None)
        return gate_images(
            x, bottleneck, convolution, around=around, channels=self.channels, residual=self.residual, layer=self
        )

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}, residual={self.residual}"
