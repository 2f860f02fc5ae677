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

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import eligibility, why_called
from attnzoo.ops.igc import ModuleLink, Stage, chain_of_modules, igc_block, igc_training, running_statistics
from attnzoo.ops.igc.modules import stages
from attnzoo.ops.igc.torch_path import in_natural_order
from attnzoo.ops.memory_format import memory_format
from attnzoo.ops.reading import Contents, Row, Table, contents, left_out, table
from attnzoo.registry import register

Connection = Literal["res", "dense"]
_MIN_PIXELS_PER_GROUP_CHANNEL = 192
"""Pixels per channel of a group from which training by the native kernels is faster; measured."""


fx.wrap("_shuffle")


class InterleavedGroupConv(Layer):
    """A grouped 3x3 convolution, then a grouped 1x1 convolution that mixes channels of different groups of the first.

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
        """Initialise the parameters again, by torch's rules for convolutions and normalisations."""
        for module in (self.conv1, self.norm1, self.conv2, self.norm2):
            module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Return P W2 P^T W1 x, with norms and without the activation at the end.

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
        if not checks.is_symbolic(x) and y.device.type == "cpu" and self._is_plain():
            return self._without_permutations(y)
        y = self.norm2(self.conv2(_shuffle(y, self.groups)))
        return _shuffle(y, y.shape[1] // self.groups)

    def _is_plain(self) -> bool:
        """Tell whether ``conv2`` and ``norm2`` are torch's modules without hooks, so that they need not be called."""
        conv, norm = self.conv2, self.norm2
        if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
            return False
        options = (conv.kernel_size, conv.stride, conv.dilation, conv.padding)
        return options == ((1, 1), (1, 1), (1, 1), (0, 0)) and why_called(conv, norm) is None

    def _without_permutations(self, z: Tensor) -> Tensor:
        """Apply ``conv2`` and ``norm2`` with both permutations as one dense convolution, which is faster than copies.

        The zeros in its weight turn an infinite activation into NaN.
        """
        order = torch.arange(z.shape[1], device=z.device).view(-1, self.groups).t().reshape(-1)  # natural to permuted
        conv, norm = self.conv2, self.norm2
        statistics = [norm.running_mean, norm.running_var]
        y = F.conv2d(z, in_natural_order(conv.weight, self.groups), _taken(conv.bias, order))
        mean, variance, gain, offset = (_taken(t, order) for t in (*statistics, norm.weight, norm.bias))
        if not norm.training:
            return F.batch_norm(y, mean, variance, gain, offset, training=False, eps=norm.eps)
        momentum = running_statistics.momentum(norm)
        y = F.batch_norm(y, mean, variance, gain, offset, training=True, momentum=momentum, eps=norm.eps)
        with torch.no_grad():
            for running, updated in zip(statistics, (mean, variance), strict=True):
                if running is not None and updated is not None:
                    running[order] = updated
        return y


def _taken(values: Tensor | None, order: Tensor) -> Tensor | None:
    return None if values is None else values[order]


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Reorder the channels from (group, member) to (member, group)."""
    batch, channels, height, width = x.shape
    grouped = x.reshape(batch, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).reshape(x.shape).contiguous(memory_format=memory_format(x))


@register(
    "igc",
    kind="unary",
    paper="Zhang, Qi, Xiao, Wang, Interleaved Group Convolutions, ICCV 2017; block of Chen et al. (CEDNN), 2020",
    summary="Interleaved group convolutions with a residual or dense connection and a 1x1 fusion.",
    exceptions={"train_one_value": "torch's BatchNorm2d refuses to train on a single value a channel (B = H = W = 1)"},
)
class IGCBlock(Layer):
    """CEDNN's block: interleaved group convolutions, a connection to the input, and a 1x1 convolution that fuses.

    Args:
        channels: Input channels C, a multiple of ``groups``.
        groups: Groups L of the 3x3 convolution; the grouped 1x1 convolution has C / L groups.
        connection: ``res`` adds the input to the branch, ``dense`` concatenates it.
        out_channels: Output channels; ``channels`` by default. (CEDNN doubles them.)
        branch_layer: Called with C, returns a layer that is applied at the branch's end, before the connection (the
            second SE position of CEDNN).
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
        self.out_channels = out_channels
        self.branch = InterleavedGroupConv(channels, groups=groups, device=device, dtype=dtype)
        self.branch_layer = nn.Identity() if branch_layer is None else branch_layer(channels)
        connected = channels if connection == "res" else 2 * channels
        self.fuse = nn.Conv2d(connected, out_channels, 1, device=device, dtype=dtype)
        self.norm = nn.BatchNorm2d(out_channels, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Initialise the parameters again, by the rules of the layers inside, ``branch_layer`` included."""
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
        return self._output(x, pool=False)

    def pooled(self, x: Tensor) -> Tensor:
        """Return ``max_pool2d(self(x), 2)``, computed together with the block where a kernel does both.

        Args:
            x: As in ``forward``, of at least 2x2 pixels.

        Returns:
            Map (B, ``out_channels``, H // 2, W // 2).

        Raises:
            TypeError: As ``forward``.
            ValueError: As ``forward``.
        """
        return F.max_pool2d(self(x), 2) if why_called(self) else self._output(x, pool=True)

    def _output(self, x: Tensor, pool: bool) -> Tensor:
        """Return the block's output, max-pooled 2x2 if ``pool``, by kernels if possible."""
        checks.feature_map("x", x, self.channels, like=self.fuse.weight)
        pool_natively = pool and min(x.shape[2:]) >= 2  # else max_pool2d raises
        in_graph = torch.compiler.is_compiling() or checks.is_symbolic(x)
        y = None if in_graph else self._fused(x, pool_natively)
        if y is None:
            y, pool_natively = self._by_modules(x), False
        else:
            y = y.contiguous(memory_format=memory_format(x))
        return F.max_pool2d(y, 2) if pool and not pool_natively else y

    def _fused(self, x: Tensor, pool: bool) -> Tensor | None:
        """Return the output computed by kernels, or None where the modules must be called or are faster."""
        evaluates = not (self.training or torch.is_grad_enabled())
        y = chain_of_modules(x, (ModuleLink(self, _CALLED, pool, None, 0.0),)) if evaluates else None
        if y is not None:
            return y
        values = contents(((self, _TRAINING if self.training else _CALLED),))
        if isinstance(values, str):
            eligibility.note("igc", "torch", values)
            return None
        eligibility.require_one_device(x, values.tensors)
        if self.training:
            return self._by_passes(x, values, pool) if self._gains_by_passes(x, values) else None
        if not evaluates:
            eligibility.note("igc_block", "torch", "gradients are on, and the kernel for evaluation has none")
            return None
        three_stages = stages(values)
        if three_stages is None or not eligibility.may_fuse("igc_block", x, None, others=values.tensors):
            return None
        return igc_block(x, three_stages, groups=self.branch.groups, pool=pool).map

    def _by_passes(self, x: Tensor, values: Contents, pool: bool) -> Tensor:
        """Return the output computed by the training kernels, and update the norms' running statistics."""
        three_stages = stages(values) or []
        output = igc_training(x, three_stages, groups=self.branch.groups, pool=pool)
        norms = (self.branch.norm1, self.branch.norm2, self.norm)
        running_statistics.update(norms, three_stages, output.moments, x)
        return output.map

    def _by_modules(self, x: Tensor) -> Tensor:
        branch = self.branch_layer(self.branch(x))
        connected = branch + x if self.connection == "res" else torch.cat([branch, x], dim=1)
        y = self.norm(self.fuse(F.relu(connected)))
        # A ReLU that saves its input for backward, not its output: backbones change a layer's output in place (`x +=
        # shortcut` in timm and torchvision).
        return F.threshold(y, 0.0, 0.0)

    def trains_by_passes(self, x: Tensor) -> bool:
        """Tell whether ``forward`` uses ``attnzoo.ops.igc.igc_training`` for ``x``: its output is contiguous."""
        if not self.training or torch.compiler.is_compiling():
            return False
        values = contents(((self, _TRAINING),))
        return not isinstance(values, str) and self._gains_by_passes(x, values)

    def _gains_by_passes(self, x: Tensor, values: Contents) -> bool:
        """Tell whether the training kernels may be used and are faster, as for maps that are large enough."""
        unfit = None
        pixels, members = x.shape[2] * x.shape[3], self.channels // self.branch.groups
        if pixels < _MIN_PIXELS_PER_GROUP_CHANNEL * members or x.numel() == 0:
            unfit = "torch's convolutions are faster on a map with few pixels for each channel of a group"
        elif torch.is_autocast_enabled("cpu"):
            unfit = "the training kernels know no autocast"
        elif stages(values) is None or not all(t is None or t.dtype == torch.float32 for t in (x, *values.tensors)):
            unfit = "the training kernels take float32 and norms that keep statistics"
        return eligibility.may_fuse("igc_training", x, unfit, others=values.tensors)

    @staticmethod
    def chain(
        x: Tensor,
        links: Sequence[tuple[IGCBlock, bool, Tensor | None, float]],
        *,
        between: Sequence[nn.Module] = (),
        kinds: tuple[type[nn.Module], ...] = (),
    ) -> Tensor | None:
        """Apply several blocks one after the other, without gradients, by one kernel.

        Nothing is cached: the parameters are read at each call.

        Args:
            x: Map (B, C, H, W) of float32, bfloat16 or float16.
            links: For each block: the block, whether its output is max-pooled 2x2, guiding maps (B, n, H, W) of the
                dtype of ``x`` or None, and the number added to the maps; see ``attnzoo.ops.igc.igc_block``.
            between: Modules between the blocks that the caller does not call, because the kernel does their work.
            kinds: The allowed types of these modules.

        Returns:
            The last block's map (B, C', H', W') of the dtype of ``x``. None where one kernel cannot do it: then call
            the modules, or give their ``stages`` to ``attnzoo.ops.igc.igc_chain``.
        """
        left: Any = left_out
        parts = tuple([(module, left(*kinds)) for module in between])
        chain = [ModuleLink(block, _WHOLE, pool, maps, plus) for block, pool, maps, plus in links]
        return chain_of_modules(x, chain, parts)

    def stages(self) -> Sequence[Stage] | None:
        """Return the three stages for ``attnzoo.ops.igc.igc_block``, or None where the block itself must be called.

        It must be called in training; while gradients are on; if it has hooks; under compilers, tracers and transforms;
        with a ``branch_layer``; and if a convolution or norm was replaced (by an adapter or a quantised module).
        """
        if torch.is_grad_enabled() or not eligibility.plain_eager():
            return None
        values = contents(((self, _WHOLE),))
        if not isinstance(values, str):
            return stages(values)
        eligibility.note("igc", "torch", values)
        return None

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}, connection={self.connection!r}"


def _table(training: bool, whole: Row) -> Table:
    """Return the table of a block; ``ModuleLink`` lists the values that are read.

    Args:
        training: Whether the norms must be in training mode or in evaluation mode.
        whole: The row of the block.
    """
    plain = {"stride": (1, 1), "dilation": (1, 1), "padding_mode": "zeros"}
    grouped = Row((nn.Conv2d,), ("weight", "bias"), required={**plain, "padding": (1, 1)})
    pointwise = Row((nn.Conv2d,), ("weight", "bias"), required={**plain, "padding": (0, 0)})
    statistics = ("running_mean", "running_var")
    norm = Row((nn.BatchNorm2d,), ("weight", "bias"), statistics, ("eps",), {"training": training})
    return table(
        {
            "": whole,
            "branch": Row((InterleavedGroupConv,), numbers=("groups",)),
            "branch_layer": Row((nn.Identity,)),
            "branch.conv1": grouped,
            "branch.norm1": norm,
            "branch.conv2": pointwise,
            "branch.norm2": norm,
            "fuse": pointwise,
            "norm": norm,
        }
    )


_WHOLE = _table(False, Row((IGCBlock,), required={"training": False}))
_CALLED = _table(False, Row(required={"training": False}))
_TRAINING = _table(True, Row())
