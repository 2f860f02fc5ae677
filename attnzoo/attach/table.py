"""The layers and costs of an attachment, existing or planned, as a table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One layer at one site.

    Attributes:
        site: Name of the module to whose output the layer is applied, or of the model's own slot that it fills.
        module: The module's class.
        path: Indices or keys of the tensor in the output; empty if the output is the tensor.
        channels: Number of channels.
        layout: Order of the tensor's dimensions.
        prefix_tokens: Number of tokens that the layer does not change.
        grid: Height and width at the probed input size.
        parameters: Number of elements of all added parameters.
        macs: Multiply-adds of convolutions and matrix products for one map of the probed size, by
            ``torch.utils.flop_counter`` (which counts two operations per multiply-add).
        bytes: Bytes of all added parameters and buffers.
    """

    site: str
    module: str
    path: tuple[int | str, ...]
    channels: int
    layout: str
    prefix_tokens: int
    grid: tuple[int, int]
    parameters: int
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All layers of an attachment with their sites and costs; ``print`` and ``rich`` show it as a table.

    Attributes:
        layer: Name of the layer.
        init: ``"identity"`` or ``"paper"``.
        rows: The layers, in the order of the sites.
        skipped: Name of each site that gets no layer, with the reason.
    """

    layer: str
    init: str
    rows: tuple[PlanRow, ...]
    skipped: Mapping[str, str]

    @property
    def parameters(self) -> int:
        """Number of elements of all added parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Number of added multiply-adds, at the probed input size."""
        return sum(row.macs for row in self.rows)

    @property
    def bytes(self) -> int:
        """Bytes of all added parameters and buffers."""
        return sum(row.bytes for row in self.rows)

    def __rich__(self) -> Table:
        """Return the table for ``rich``."""
        from rich.table import Table

        table = Table(title=f"{self.layer} at {len(self.rows)} places, init {self.init!r}", show_footer=True)
        for name, total in (
            ("site", "total"),
            ("module", ""),
            ("channels", ""),
            ("layout", ""),
            ("grid", ""),
            ("parameters", f"{self.parameters:,}"),
            ("MACs", f"{self.macs:,}"),
            ("bytes", f"{self.bytes:,}"),
        ):
            table.add_column(name, footer=total, justify="left" if total in {"", "total"} else "right")
        for row in self.rows:
            path = "".join(f"[{key!r}]" for key in row.path)
            prefix = f" after {row.prefix_tokens}" if row.prefix_tokens else ""
            table.add_row(
                row.site + path.replace("[", r"\["),
                row.module,
                str(row.channels),
                row.layout + prefix,
                f"{row.grid[0]} x {row.grid[1]}",
                f"{row.parameters:,}",
                f"{row.macs:,}",
                f"{row.bytes:,}",
            )
        for site, reason in self.skipped.items():
            table.add_row(site, f"skipped: {reason}", style="dim")
        return table

    def __str__(self) -> str:
        """Return the table as plain text."""
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=140, color_system=None).print(self)
        return text.getvalue().rstrip()
