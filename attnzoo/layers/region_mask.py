r"""Hard masks of horizontal face regions (TRA-Net).

Y. Xia, "Upper, Middle and Lower Region Learning for Facial Action Unit Detection", 2020, eq. (4).

.. math::
    I_{hm} = M_h \otimes I

with masks of 0 and 1 that are alike in all channels. With the centre row y of the face and the map's height H: upper,
the rows above y; lower, the rows from y down; middle, y - H/4 to y + H/4.

Differences from the paper: rows outside of a region are 0 even where the map is NaN or infinite; a product with 0 would
be NaN there. The paper does not define the case that y is no whole row of the map: here a row belongs to a region if
the row's middle lies in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, fx

from attnzoo import checks
from attnzoo.layer import Layer
from attnzoo.ops import note_gates, split_rows
from attnzoo.ops.gate_listener import has_listener
from attnzoo.registry import register

Region = tuple[float | None, float | None]
"""Top and bottom of a region, as fractions of the frame's height measured from the centre row (down is positive); None
for the frame's edge."""

PAPER_REGIONS: Mapping[str, Region] = MappingProxyType(
    {"upper": (None, 0.0), "middle": (-0.25, 0.25), "lower": (0.0, None)}
)


fx.wrap("_kept_rows")
fx.wrap("split_rows")


@register(
    "region_mask",
    kind="split",
    paper="Xia, Upper, Middle and Lower Region Learning for Facial Action Unit Detection, 2020",
    summary="Named horizontal regions around a centre row, each a copy of the map with the rest set to zero.",
)
class RegionMask(Layer):
    """Split a map into named horizontal regions by hard masks.

    Args:
        channels: Channels C of the map.
        regions: Name to (top, bottom), each a fraction of the frame's height measured from the centre row (down is
            positive), or None for the frame's edge. The paper's upper, middle and lower by default.
        frame_height: Height in pixels of the frame in which the centre row is given; None if the centre row is given in
            rows of the map.
        device: Accepted for a uniform signature; the layer has no parameters.
        dtype: Accepted for a uniform signature; the layer has no parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there is no region, or one is empty.

    Example:
        >>> split = RegionMask(8, frame_height=224)
        >>> regions = split(torch.ones(2, 8, 56, 56), torch.tensor([112.0, 100.0]))
        >>> [int(regions[name][0, 0].sum()) // 56 for name in ("upper", "middle", "lower")]
        [28, 28, 28]
    """

    def __init__(
        self,
        channels: int,
        *,
        regions: Mapping[str, Region] = PAPER_REGIONS,
        frame_height: int | None = None,
        device: torch.device | str | None = None,  # noqa: ARG002 - every layer takes it
        dtype: torch.dtype | None = None,  # noqa: ARG002 - every layer takes it
    ) -> None:
        super().__init__()
        self.channels = checks.positive_int("channels", channels)
        self.frame_height = None if frame_height is None else checks.positive_int("frame_height", frame_height)
        if not isinstance(regions, Mapping) or not regions:
            raise ValueError(f"regions must map at least one name to (top, bottom), got {regions!r}")
        self.regions = {name: _checked_region(name, region) for name, region in regions.items()}

    def masks(self, x: Tensor, center_row: Tensor | float | None = None) -> dict[str, Tensor]:
        """Return each region's mask, (B or 1, 1, H, 1) of 0 and 1 in the dtype of ``x``; see :meth:`forward`."""
        return self._named(self._rows(x, center_row), x.dtype)

    def _named(self, rows: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        return dict(zip(self.regions, rows[:, :, None, :, None].to(dtype), strict=True))

    def _rows(self, x: Tensor, center_row: Tensor | float | None) -> Tensor:
        """Return which rows belong to which region, boolean (R, B or 1, H)."""
        checks.feature_map("x", x, self.channels)
        kept = _kept_rows(x, center_row, tuple(self.regions.values()), self.frame_height)
        if has_listener() and not checks.is_symbolic(x):
            note_gates(self, self._named(kept, x.dtype), hard=True)
        return kept

    def forward(self, x: Tensor, center_row: Tensor | float | None = None) -> dict[str, Tensor]:
        """Return the map once for each region, zero outside it.

        Args:
            x: Map (B, C, H, W), floating.
            center_row: The face's centre row, one number or a tensor (B,), in pixels from the frame's top edge; None
                for the frame's middle. Its range is checked, which synchronises the device if it is a CUDA tensor.

        Returns:
            Region name to map, each of the shape, dtype, device and memory format of ``x``.

        Raises:
            TypeError: If ``x`` is no floating tensor, or ``center_row`` is neither a number nor a tensor.
            ValueError: If a shape does not fit, or a centre row lies outside the frame or is NaN.
        """
        copies = split_rows(x, self._rows(x, center_row))
        return {name: copies[i] for i, name in enumerate(self.regions)}

    def extra_repr(self) -> str:
        """Return the options."""
        return f"channels={self.channels}, regions={self.regions}, frame_height={self.frame_height}"


def _kept_rows(
    x: Tensor, center_row: Tensor | float | None, regions: tuple[Region, ...], frame_height: int | None
) -> Tensor:
    """Return which rows of ``x`` belong to which region, boolean (R, B or 1, H)."""
    height = x.shape[2]
    frame_height = height if frame_height is None else frame_height
    center = _checked_center(center_row, x.shape[0], frame_height).to(x.device).view(-1, 1)
    middle_of_row = (torch.arange(height, device=x.device, dtype=center.dtype) + 0.5) * (frame_height / height)
    offset = middle_of_row - center  # (B or 1, H)
    rows = []
    for top, bottom in regions:
        inside = torch.ones_like(offset, dtype=torch.bool)
        if top is not None:
            inside = inside & (offset >= top * frame_height)
        if bottom is not None:
            inside = inside & (offset < bottom * frame_height)
        rows.append(inside)
    return torch.stack(rows)


def _checked_region(name: str, region: Region) -> Region:
    if not isinstance(name, str) or not name:
        raise TypeError(f"regions must have names (str) as keys, got {name!r}")
    if not isinstance(region, tuple) or len(region) != 2:
        raise TypeError(f"regions[{name!r}] must be a tuple (top, bottom), got {region!r}")
    top, bottom = (None if edge is None else checks.finite(f"regions[{name!r}]", edge) for edge in region)
    if top is not None and bottom is not None and top >= bottom:
        raise ValueError(f"regions[{name!r}] must have top < bottom, got {region}")
    return top, bottom


def _checked_center(center_row: Tensor | float | None, batch: int, frame_height: int) -> Tensor:
    if center_row is None:
        return torch.tensor([frame_height / 2], dtype=torch.float64, device="cpu")
    if isinstance(center_row, bool) or not isinstance(center_row, (int, float, Tensor)):
        raise TypeError(f"center_row must be a number or a tensor (B,), got {center_row!r}")
    if isinstance(center_row, Tensor) and (center_row.dtype == torch.bool or center_row.is_complex()):
        raise TypeError(f"center_row must be a tensor of real numbers, got {center_row.dtype}")
    center = torch.as_tensor(center_row, dtype=torch.float64, device=getattr(center_row, "device", "cpu"))
    if center.dim() > 1 or (center.dim() == 1 and center.shape[0] != batch):
        raise ValueError(f"center_row must be one number or have shape ({batch},), got shape {tuple(center.shape)}")
    if not torch.compiler.is_compiling() and not bool(((center >= 0) & (center <= frame_height)).all()):
        raise ValueError(f"center_row must lie in the frame, 0 to {frame_height}, got {center.tolist()}")
    return center
