"""Call the kernels of CEDNN's block in evaluation on tensors.

Maps are contiguous and of one dtype; all other tensors are contiguous float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import DTYPES, _check
from attnzoo.kernels.cpu.library import kernels
from attnzoo.kernels.cpu.records import Record

STAGE = Record(weight="P", bias="P", gain="P", offset="P", mean="P", variance="P", epsilon="d")
"""``AttnzooStage`` of record.h."""
BLOCK = Record(
    **dict.fromkeys(("batch", "channels", "height", "width", "groups", "outputs", "given", "maps", "span"), "q"),
    plus="f",
    **dict.fromkeys(("dense", "pool", "dtype", "threads"), "i"),
)
"""``AttnzooIgc`` of record.h."""
MAPS = Record(x="P", maps="P", gate="P", y="P", means="P")
"""``AttnzooIgcMaps`` of record.h."""
HALVE = Record(planes="q", height="q", width="q", threads="q", x="P", y="P")
"""``AttnzooHalve`` of halve.cpp."""
_UNFIT = 3  # kUnknownSize of kernel.h


class Link(NamedTuple):
    """One block of a chain.

    Attributes:
        weights: The weights of the three convolutions.
        norms: For each convolution: its bias, then its norm's weight, bias, mean and variance.
        epsilons: The three norms' epsilons.
        groups: Groups of the first convolution.
        pool: Whether the output is max-pooled 2x2.
        maps: Guiding maps (B, n, H, W), or None: the channels form n + 1 equal spans, and each span but the first is
            multiplied by its map ``+ plus``. If the channels of ``x`` are repeated, each repetition is a span.
        plus: Added to the maps.
        gate: (B, C''), by which the block's input is multiplied first, or None.
        y: The output, to be filled.
        means: (B, C'), to be filled with the averages of the output before pooling, or None.
    """

    weights: Sequence[Tensor]
    norms: Sequence[Tensor | None]
    epsilons: Sequence[float]
    groups: int
    pool: bool
    maps: Tensor | None
    plus: float
    gate: Tensor | None
    y: Tensor
    means: Tensor | None


def igc_blocks(x: Tensor, links: Sequence[Link]) -> None:
    """Fill the outputs of blocks: the first reads ``x`` (B, C'', H, W), each other one the output of the one before.

    If a block has more channels C than its input, the input's channels are repeated.
    """
    threads, dtype = torch.get_num_threads(), DTYPES[x.dtype]
    blocks, stages, maps = bytearray(), bytearray(), bytearray()
    read = x
    for link in links:
        batch, given, height, width = read.shape
        channels, (outputs, depth) = len(link.weights[0]), link.weights[2].shape[:2]
        guides = 0 if link.maps is None else link.maps.shape[1]
        blocks += BLOCK.pack(
            *(batch, channels, height, width, link.groups, outputs),
            *(given, guides, min(given, channels // (guides + 1)), link.plus),
            *(depth != channels, link.pool, dtype, threads),
        )
        at = [0 if t is None else t.data_ptr() for t in (*link.weights, *link.norms)]
        for k, epsilon in enumerate(link.epsilons):
            stages += STAGE.pack(at[k], *at[3 + 5 * k : 8 + 5 * k], epsilon)
        tensors = (read, link.maps, link.gate, link.y, link.means)
        maps += MAPS.pack(*(0 if t is None else t.data_ptr() for t in tensors))
        read = link.y
    _check(kernels().igc_block(len(links), *map(bytes, (blocks, stages, maps))))


def igc_chain(count: int, record: bytes, y: Tensor) -> bool:
    """Fill ``y`` with the output of ``count`` blocks from a record (see chain.cpp); False if a shape does not fit."""
    status = kernels().igc_chain(count, torch.get_num_threads(), record, y.data_ptr(), y.numel())
    if status != _UNFIT:
        _check(status)
    return status != _UNFIT


def halve(maps: Tensor, threads: int, out: Tensor) -> None:
    """Fill ``out`` (B, C, H, W) with the 2x2 max pooling of ``maps`` (B, C, 2 H, 2 W), both float32."""
    batch, channels, height, width = out.shape
    _check(kernels().halve(HALVE.pack(batch * channels, height, width, threads, maps.data_ptr(), out.data_ptr())))
