r"""Interleaved group convolution, and the block that CEDNN builds on it.

T. Zhang, G.-J. Qi, B. Xiao, J. Wang, "Interleaved Group Convolutions for Deep Neural Networks", ICCV 2017;
J. Chen, C. Wang, K. Wang, M. Liu (CEDNN), 2020, section 3.3, eqs. (1)-(8).

With L groups of M channels in the first convolution, M groups of L channels in the second, and the permutation P that
gathers the m-th channel of every group:

.. math::
    \bar y = P W^2 P^\top W^1 x, \qquad x' = W^3(\bar y + x) \;\; (res) \quad or \quad W^3[\bar y : x] \;\; (dense)

Differences from the paper: eqs. 7-8 are linear shorthand and leave out where normalisation and activation sit. Here
W1 -> BN -> ReLU -> W2 -> BN -> connection -> ReLU -> W3 -> BN -> ReLU, every convolution with a bias: the placement
whose counts agree with CEDNN's Table 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.ops import Stage, dispatch, igc_block
from attnzoo.registry import register

Connection = Literal["res", "dense"]


class InterleavedGroupConv(nn.Module):
    """A grouped 3x3 convolution and a grouped 1x1 convolution that mixes what the first kept apart.

    Args:
        channels: Input channels, a multiple of ``groups``.
        out_channels: Output channels, a multiple of ``groups``; ``channels`` by default.
        groups: Groups L of the 3x3 convolution; the 1x1 convolution has M = ``out_channels`` / L groups.
        stride: Stride of the 3x3 convolution.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``groups`` does not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        *,
        groups: int,
        stride: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        out_channels = channels if out_channels is None else checks.positive_int("out_channels", out_channels)
        self.groups = checks.positive_int("groups", groups)
        for name, count in (("channels", channels), ("out_channels", out_channels)):
            if count % groups:
                raise ValueError(f"groups must divide {name}={count}, got {groups}")
        self.conv1 = nn.Conv2d(
            channels,
            out_channels,
            3,
            stride=checks.positive_int("stride", stride),
            padding=1,
            groups=groups,
            device=device,
            dtype=dtype,
        )
        self.norm1 = nn.BatchNorm2d(out_channels, device=device, dtype=dtype)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 1, groups=out_channels // groups, device=device, dtype=dtype)
        self.norm2 = nn.BatchNorm2d(out_channels, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights anew, by torch's rules for convolutions and normalisations."""
        for module in (self.conv1, self.norm1, self.conv2, self.norm2):
            module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Return P W2 P^T W1 x, normalised, not yet activated.

        Args:
            x: Map (B, C, H, W) of the parameters' dtype.

        Returns:
            Map (B, ``out_channels``, ceil(H / stride), ceil(W / stride)).

        Raises:
            TypeError: If ``x`` is no floating tensor of the parameters' dtype.
            ValueError: If its shape does not fit.
        """
        checks.feature_map("x", x, self.channels, like=self.conv1.weight)
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(_shuffle(y, self.groups)))
        return _shuffle(y, y.shape[1] // self.groups)


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Reorder the channels from (group, member) to (member, group)."""
    batch, channels, height, width = x.shape
    grouped = x.reshape(batch, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).reshape(x.shape).contiguous(memory_format=_memory_format(x))


def _memory_format(x: Tensor) -> torch.memory_format:
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


@register(
    "igc",
    kind="unary",
    paper="Zhang, Qi, Xiao, Wang, Interleaved Group Convolutions, ICCV 2017; block of Chen et al. (CEDNN), 2020",
    summary="Interleaved group convolutions with a residual or dense connection and a 1x1 fusion.",
    exceptions={"train_one_value": "torch's BatchNorm2d refuses to train on a single value a channel (B = H = W = 1)"},
)
class IGCBlock(nn.Module):
    """CEDNN's block: interleaved group convolutions, a connection to the input, and a 1x1 convolution that fuses.

    Args:
        channels: Input channels C, a multiple of ``groups``.
        groups: Groups L of the 3x3 convolution; the grouped 1x1 convolution has C / L groups.
        connection: ``res`` adds the input to the branch, ``dense`` concatenates it.
        out_channels: Output channels; ``channels`` by default. (CEDNN doubles them.)
        branch_layer: Called with C, makes a layer that is put at the branch's end, before the connection (the second
            SE position of CEDNN).
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``groups`` does not divide ``channels``, or ``connection`` is unknown.

    Example:
        >>> IGCBlock(18, groups=6, connection="dense", out_channels=36)(torch.zeros(2, 18, 8, 8)).shape
        torch.Size([2, 36, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        *,
        groups: int = 2,
        connection: Connection = "res",
        out_channels: int | None = None,
        branch_layer: Callable[[int], nn.Module] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        checks.one_of("connection", connection, ("res", "dense"))
        self.connection = connection
        out_channels = channels if out_channels is None else checks.positive_int("out_channels", out_channels)
        self.branch = InterleavedGroupConv(channels, groups=groups, device=device, dtype=dtype)
        self.branch_layer = nn.Identity() if branch_layer is None else branch_layer(channels)
        connected = channels if connection == "res" else 2 * channels
        self.fuse = nn.Conv2d(connected, out_channels, 1, device=device, dtype=dtype)
        self.norm = nn.BatchNorm2d(out_channels, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights anew, by the rules of the layers inside, ``branch_layer`` included."""
        for module in (self.branch, self.branch_layer, self.fuse, self.norm):
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output.

        Args:
            x: Map (B, C, H, W) of the parameters' dtype.

        Returns:
            Map (B, ``out_channels``, H, W) of the dtype, device and memory format of ``x``.

        Raises:
            TypeError: If ``x`` is no floating tensor of the parameters' dtype.
            ValueError: If its shape does not fit.
        """
        checks.feature_map("x", x, self.channels, like=self.fuse.weight)
        stages = self.stages()
        if stages is not None and dispatch.takes_native(x, None):
            fused = igc_block(x, stages, groups=self.branch.groups).map
            return fused.contiguous(memory_format=_memory_format(x))
        branch = self.branch_layer(self.branch(x))
        connected = branch + x if self.connection == "res" else torch.cat([branch, x], dim=1)
        y = self.norm(self.fuse(F.relu(connected)))
        # ReLU in the form that keeps its input for backward, not its output: backbones add to what a layer returns in
        # place (timm's and torchvision's `x += shortcut`).
        return F.threshold(y, 0.0, 0.0)

    def stages(self) -> tuple[Stage, Stage, Stage] | None:
        """Return the stages with which ``attnzoo.ops.igc_block`` may take the place of calling the modules.

        None where it may not: in training; where a gradient may be wanted; where anybody watches (hooks, compilers); where
        there is a ``branch_layer``, or another module in a convolution's or norm's place (an adapter, a quantised one).
        """
        branch = self.branch
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return None
        convs, norms = (branch.conv1, branch.conv2, self.fuse), (branch.norm1, branch.norm2, self.norm)
        plain = (
            type(branch) is InterleavedGroupConv
            and branch.conv1.stride == (1, 1)
            and type(self.branch_layer) is nn.Identity
            and all(type(conv) is nn.Conv2d for conv in convs)
            and all(_in_evaluation(norm) for norm in norms)
        )
        if not plain or any(map(_watched, (branch, self.branch_layer, *convs, *norms))):
            return None
        first, second, third = map(Stage.of, convs, norms)
        return first, second, third

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}, connection={self.connection!r}"


def _in_evaluation(norm: nn.Module) -> bool:
    return type(norm) is nn.BatchNorm2d and not norm.training and norm.running_mean is not None


def _watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001
