r"""Densely backward attention (DBA-Net).

C.-H. Hua, T. Huynh-The, H. Seo, S. Lee, "Convolutional Network with Densely Backward Attention for Facial Expression
Recognition", IMCOM 2020, eqs. (1)-(6).

From maps :math:`f_1 .. f_n`, shallow to deep, with global average pooling G:

.. math::
    g_i = \sigma(W_{fc2}\,ReLU(W_{fc1} G(f_i) + b_{fc1}) + b_{fc2})

    w_n = g_n, \qquad w_i = W_{11i}[g_i : g_{i+1} : \dots : g_n] \;\; (i < n)

    f_{fer} = [G(f_1 \otimes w_1) : \dots : G(f_n \otimes w_n)]

A gate that is the same for all pixels commutes with the average, :math:`G(f \otimes w) = G(f)\,w`: each map is read
once and none is written. The strategy ``aw_o_db`` leaves out the dense backward concatenation, :math:`w_i = g_i`.

Differences from the paper: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import apply_gates, global_pool, note_gates
from attnzoo.registry import register

Strategy = Literal["dba", "aw_o_db"]
Output = Literal["vector", "maps"]


fx.wrap("apply_gates")
fx.wrap("global_pool")


class AttentionalFeatures(nn.Module):
    """Attentional features extractor, eqs. (3)-(4): a bottleneck with biases and a sigmoid, on pooled features."""

    def __init__(
        self, channels: int, hidden: int, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, channels, device=device, dtype=dtype)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the gate (B, C) in (0, 1) of the pooled features (B, C)."""
        gate: Tensor = self.fc2(F.relu(self.fc1(pooled))).sigmoid()
        return gate


@register(
    "dba",
    kind="pyramid",
    paper="Hua, Huynh-The, Seo, Lee, Convolutional Network with Densely Backward Attention, IMCOM 2020",
    summary="Channel gates of shallow maps from those of all deeper maps; pools the pyramid to one vector.",
    keeps=("dtype", "device"),
)
class DenselyBackwardAttention(Layer):
    """Re-weight a pyramid of maps by gates that run from deep to shallow, and pool it to one vector.

    Args:
        channels: Channels of each map, shallow to deep; at least one.
        rd_ratio: Bottleneck width over channels, in (0, 1].
        rd_divisor: The widths are rounded to a multiple of this.
        strategy: ``dba``, or ``aw_o_db`` for attention without dense backward concatenation.
        output: ``vector`` for the pooled features, ``maps`` for the re-weighted maps.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there is no map, or a value is out of range.

    Example:
        >>> maps = [torch.rand(2, 8, 8, 8), torch.rand(2, 16, 4, 4)]
        >>> DenselyBackwardAttention([8, 16], rd_ratio=0.25)(maps).shape
        torch.Size([2, 24])
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        rd_ratio: float = 1 / 16,
        rd_divisor: int = 1,
        strategy: Strategy = "dba",
        output: Output = "vector",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(channels, Sequence):
            raise TypeError(f"channels must be a sequence of channel counts, shallow to deep, got {channels!r}")
        if not channels:
            raise ValueError(f"channels must hold at least one channel count, got {channels!r}")
        self.channels = tuple(checks.positive_int(f"channels[{i}]", count) for i, count in enumerate(channels))
        checks.one_of("strategy", strategy, ("dba", "aw_o_db"))
        checks.one_of("output", output, ("vector", "maps"))
        self.strategy = strategy
        self.output = output
        self.out_channels = sum(self.channels)
        hidden = [checks.reduced_channels(count, rd_ratio, None, rd_divisor) for count in self.channels]
        self.extractors = nn.ModuleList(
            AttentionalFeatures(count, width, device, dtype) for count, width in zip(self.channels, hidden, strict=True)
        )
        self.backward_convs = nn.ModuleList(
            nn.Linear(sum(self.channels[i:]), count, bias=False, device=device, dtype=dtype)
            for i, count in enumerate(self.channels[:-1])
            if strategy == "dba"
        )

    def reset_parameters(self) -> None:
        """Initialise the parameters again, by torch's rule for linear layers."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def weights(self, pooled: Sequence[Tensor]) -> list[Tensor]:
        """Return the channel weights w_i (B, C_i) for the pooled maps G(f_i) (B, C_i)."""
        gates = [extract(vector) for extract, vector in zip(self.extractors, pooled, strict=True)]
        if self.strategy == "aw_o_db":
            weights = gates
        else:
            backward = [conv(torch.cat(gates[i:], dim=1)) for i, conv in enumerate(self.backward_convs)]
            weights = [*backward, gates[-1]]
        note_gates(self, {f"w{i}": weight for i, weight in enumerate(weights, start=1)})
        return weights

    def forward(self, maps: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Return the pooled vector, or the re-weighted maps.

        Args:
            maps: Maps f_i (B, C_i, H_i, W_i), shallow to deep, of the parameters' dtype.

        Returns:
            (B, sum of all C_i), or with ``output="maps"`` a list of maps shaped like the inputs.

        Raises:
            TypeError: If ``maps`` is no sequence of floating tensors of the parameters' dtype.
            ValueError: If their number or a shape does not fit.
        """
        self._check(maps)
        if checks.is_symbolic(maps):
            maps = [maps[i] for i in range(len(self.channels))]
        pooled = [global_pool(x, maximum=False).values[0].to(x.dtype) for x in maps]
        weights = self.weights(pooled)
        if self.output == "maps":
            return [apply_gates(x, (weight[:, :, None, None],)) for x, weight in zip(maps, weights, strict=True)]
        return torch.cat([vector * weight for vector, weight in zip(pooled, weights, strict=True)], dim=1)

    def _check(self, maps: Sequence[Tensor]) -> None:
        if checks.is_symbolic(maps):
            return
        if not isinstance(maps, Sequence):
            raise TypeError(f"maps must be a sequence of {len(self.channels)} tensors, got {type(maps).__name__}")
        if len(maps) != len(self.channels):
            raise ValueError(f"maps must hold {len(self.channels)} tensors (channels {self.channels}), got {len(maps)}")
        like = next(self.parameters(), None)
        for i, (x, count) in enumerate(zip(maps, self.channels, strict=True)):
            checks.feature_map(f"maps[{i}]", x, count, like=like)
            if x.shape[0] != maps[0].shape[0]:
                raise ValueError(f"maps must share one batch size, got {[len(each) for each in maps]}")

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"channels={self.channels}, strategy={self.strategy!r}, output={self.output!r}"
