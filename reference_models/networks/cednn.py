"""CEDNN, an efficient network for facial action units that takes difference maps as attention.

J. Chen, C. Wang, K. Wang, M. Liu, "Computational efficient deep neural network with difference attention maps for
facial action unit detection", 2020.

Six blocks of interleaved group convolutions (:class:`attnzoo.IGCBlock`) of 18, 36, .. 576 channels, each doubling its
channels, with 2x2 max-pooling between them; a 1x1 convolution to 144 channels; a 7x7 convolution to 1024; a 1x1
convolution; a linear classifier. The input has 18 channels: the RGB face, and the face multiplied by each of five
binary difference maps. The maps are max-pooled together with the features and modulate the inputs of further blocks.

Differences from the paper: none known; these points are not printed in it and were chosen so that all published counts
agree. Without maps the RGB face is repeated six times (the counts need 18 input channels and no stem). Every
convolution has a bias and every normalisation is affine; the three convolutions of the top have ReLU and no
normalisation. In later blocks the channels form six groups, one untouched and one for each map (``map_form``). The SE
variant of Table 8 has its 9.79 M parameters with a reduction of 18 and no biases. The convolutions of the top are
initialised as by He et al. (2015), which preserves the signal's scale through ReLUs: with torch's default it shrinks to
a fifteenth, and the network learns little.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from attnzoo import DifferenceGate, IGCBlock, SqueezeExcite
from reference_models import checks
from reference_models.networks import cednn_blocks, cednn_top
from reference_models.networks.cednn_blocks import Link

NUM_MAPS = 5
GROUP_COUNTS = (1, 2, 3, 6, 9, 18)
VARIANTS = tuple(f"{connection}-L{groups}M{18 // groups}" for connection in ("res", "dense") for groups in GROUP_COUNTS)
DISFA_PLUS_AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
CK_PLUS_AUS = (1, 2, 4, 5, 6, 7, 9, 12, 17, 23, 24, 25, 27)

SEPosition = Literal["first", "second"]


class CEDNN(nn.Module):
    """The network of the paper, in any of its variants.

    Args:
        variant: One of :data:`VARIANTS`, ``<res|dense>-L<groups>M<18/groups>`` as in Table 6.
        num_aus: Number of action units, one logit each: 12 for DISFA+ (:data:`DISFA_PLUS_AUS`), 13 for CK+
            (:data:`CK_PLUS_AUS`).
        se: Squeeze-and-excitation on each block's whole output (``first``), on its branch before the connection
            (``second``), or None.
        se_rd_ratio: Bottleneck width of the SE over its channels.
        attention_blocks: Number of blocks, counted from the first, whose input the difference maps modulate, 0 to 6;
            the paper's best is 3. With 0 the network takes only the face.
        map_form: How a map modulates its group of channels in the second and later blocks: ``add`` (x + x*m) or
            ``multiply`` (x*m).
        image_size: Side of the square face in pixels, a multiple of 32; the first kernel of the top is 1/32 of it.
        width: Channels of the first block, a multiple of 18; the paper's is 18.
        top_width: Channels of the top's two last convolutions; the paper's is 1024.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is not one of those allowed.

    Example:
        >>> network = CEDNN("dense-L2M9", num_aus=12, se="first", image_size=32)
        >>> network(torch.rand(2, 3, 32, 32), torch.ones(2, 5, 32, 32)).shape
        torch.Size([2, 12])
    """

    def __init__(
        self,
        variant: str = "res-L18M1",
        *,
        num_aus: int = 12,
        se: SEPosition | None = None,
        se_rd_ratio: float = 1 / 18,
        attention_blocks: int = 3,
        map_form: Literal["add", "multiply"] = "add",
        image_size: int = 224,
        width: int = 18,
        top_width: int = 1024,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        connection, groups = _parse_variant(variant)
        checks.one_of("se", se, (None, "first", "second"))
        checks.one_of("map_form", map_form, ("add", "multiply"))
        checks.one_of("attention_blocks", attention_blocks, range(7))
        checks.multiple_of("image_size", image_size, 32)
        checks.multiple_of("width", width, 18)
        checks.positive_int("num_aus", num_aus)
        checks.positive_int("top_width", top_width)
        self.variant = variant
        self.attention_blocks = attention_blocks
        self.map_form = map_form
        self.image_size = image_size
        factory: dict[str, Any] = {"device": device, "dtype": dtype}

        def squeeze_excite(channels: int) -> SqueezeExcite:
            return SqueezeExcite(channels, rd_ratio=se_rd_ratio, bias=False, **factory)

        widths = [width * 2**i for i in range(6)]
        self.stack = DifferenceGate(3, num_maps=NUM_MAPS, form="stack")
        self.gates = nn.ModuleList(
            DifferenceGate(channels, num_maps=NUM_MAPS, form=map_form) for channels in widths[1:attention_blocks]
        )
        self.blocks = nn.ModuleList(
            IGCBlock(
                channels,
                groups=groups,
                connection=connection,
                out_channels=2 * channels,
                branch_layer=squeeze_excite if se == "second" else None,
                **factory,
            )
            for channels in widths
        )
        self.block_layers = nn.ModuleList(
            squeeze_excite(2 * channels) if se == "first" else nn.Identity() for channels in widths
        )
        self.reduce = nn.Conv2d(2 * widths[-1], 8 * width, 1, **factory)
        self.top1 = nn.Conv2d(8 * width, top_width, image_size // 32, **factory)
        self.top2 = nn.Conv2d(top_width, top_width, 1, **factory)
        self.fc = nn.Linear(top_width, num_aus, **factory)
        for conv in (self.reduce, self.top1, self.top2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(cast("Tensor", conv.bias))

    def forward(self, x: Tensor, maps: Tensor | None = None) -> Tensor:
        """Return one logit for each action unit.

        Args:
            x: RGB faces (B, 3, ``image_size``, ``image_size``).
            maps: Binary difference maps (B, 5, ``image_size``, ``image_size``); must be None if ``attention_blocks``
                is 0, and only then.

        Returns:
            Logits (B, ``num_aus``).

        Raises:
            TypeError: If an input is not a floating tensor.
            ValueError: If a shape does not fit, or ``maps`` contradicts ``attention_blocks``.
        """
        checks.images("x", x, self.image_size)
        symbolic = not isinstance(x, Tensor)  # torch.fx passes a node for every argument, also for maps=None
        if symbolic and self.attention_blocks == 0:
            maps = None
        if (maps is None) != (self.attention_blocks == 0):
            raise ValueError(
                f"maps must be {'left out' if maps is not None else 'given'}: the network was made with "
                f"attention_blocks={self.attention_blocks}"
            )
        links = self.links()
        features = cednn_blocks.fused(links, x, maps)
        features = cednn_blocks.by_modules(links, x, maps) if features is None else features
        return cednn_top.logits(self.reduce, self.top1, self.top2, self.fc, features)

    def links(self) -> list[Link]:
        """Return the blocks in order with gates, output layers and pooling: the only place that defines the order."""
        gates = [self.stack, *self.gates][: self.attention_blocks]
        gated: Iterator[tuple[Any, Any, nn.Module]] = itertools.zip_longest(gates, self.blocks, self.block_layers)
        last = len(self.blocks) - 1
        return [Link(gate, block, layer, pool=i < last) for i, (gate, block, layer) in enumerate(gated)]


def _parse_variant(variant: str) -> tuple[Literal["res", "dense"], int]:
    checks.one_of("variant", variant, VARIANTS)
    connection, _, split = variant.partition("-L")
    return "res" if connection == "res" else "dense", int(split.partition("M")[0])
