"""The result of counting: the figures, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

CONVENTIONS: Mapping[str, str] = MappingProxyType(
    {
        "parameters": "elements of all parameters; a shared one counts once",
        "MACs (fvcore)": "fvcore's FlopCountAnalysis: one per multiply-add of convolutions and matrix products, and a"
        " few per element of normalisations",
        "FLOPs (torch.utils.flop_counter)": "two per multiply-add of convolutions, matrix products and attention;"
        " nothing else",
        "operations (thop-2019)": "the rule of the thop package in 2019: Conv one per multiply-add and one per bias,"
        " BatchNorm 4 per element, Linear 2 * in_features per output, AdaptiveAvgPool2d its window + 1 and AvgPool2d"
        " its kernel_size as given + 1 per output, else 0; by module, so that operations called through"
        " torch.nn.functional (LLAM's convolution) count 0",
        "activation bytes": "outputs of all module calls inside which no other module was called, except tensors that"
        " are also inputs (identities, in-place modules); outputs of plain functions are not counted",
    }
)
"""Name of each counting convention, as it is printed, to a description of what it counts."""

_PARAMETERS, _MACS, _FLOPS, _THOP, _BYTES = CONVENTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """The cost of one module without its submodules, summed over its calls; see :class:`Cost` for the figures.

    Attributes:
        name: As in ``model.named_modules()``; empty for the model itself.
        type: The class's name.
        calls: Number of calls in the forward pass.
        output_shape: Shape of the first tensor in the output of its last call; None if there was none.
        parameters: Elements of its direct parameters, without those of previous rows.
        macs: Multiply-adds by fvcore; None on the meta device.
        flops: Operations by torch's flop counter, two per multiply-add.
        thop_2019: Operations by the 2019 rule of thop.
        activation_bytes: Bytes of its outputs, if it called no other module.
    """

    name: str
    type: str
    calls: int
    output_shape: tuple[int, ...] | None
    parameters: int
    macs: int | None
    flops: int
    thop_2019: int
    activation_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one forward pass; :data:`CONVENTIONS` describes the figures. Print it, or its :meth:`table`.

    Attributes:
        parameters: Number of elements of all parameters.
        trainable_parameters: Number of elements of those that require a gradient.
        macs: Multiply-adds by fvcore; None on the meta device, which torch cannot trace.
        flops: Floating-point operations by ``torch.utils.flop_counter``, two per multiply-add.
        thop_2019: Operations by the 2019 rule of thop.
        activation_bytes: Bytes of the outputs of all modules that call no other.
        uncounted: Operators for which fvcore has no rule, with their number of calls; they count 0 in ``macs``.
        layers: The modules with a cost besides that of their submodules, in the order of definition; the figures of all
            add up to the totals.
    """

    parameters: int
    trainable_parameters: int
    macs: int | None
    flops: int
    thop_2019: int
    activation_bytes: int
    uncounted: dict[str, int]
    layers: tuple[LayerCost, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return the totals as pairs of a convention's name and a printable figure."""
        rows = [
            (_PARAMETERS, f"{self.parameters:,} ({self.trainable_parameters:,} trainable)"),
            (_MACS, "not counted: torch cannot trace the meta device" if self.macs is None else f"{self.macs:,}"),
            (_FLOPS, f"{self.flops:,}"),
            (_THOP, f"{self.thop_2019:,}"),
            (_BYTES, f"{self.activation_bytes:,}"),
        ]
        if self.uncounted:
            operators = ", ".join(f"{operator} x{calls}" for operator, calls in self.uncounted.items())
            rows.append(("no rule in fvcore for", operators))
        return rows

    def __str__(self) -> str:
        """Return the totals, one line per convention."""
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {figure}" for name, figure in rows)

    def table(self) -> Table:
        """Return the layers and their total as a table for ``rich``; operations in millions, activations in KiB."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
        for name, total in (("layer", "total"), ("type", ""), ("output", "")):
            table.add_column(name, footer=total, overflow="fold")
        for name, total in (
            ("para-\nmeters", f"{self.parameters:,}"),
            ("M MACs\n(fvcore)", _millions(self.macs)),
            ("M FLOPs\n(torch)", _millions(self.flops)),
            ("M ops\n(thop-2019)", _millions(self.thop_2019)),
            ("KiB\n(outputs)", _kib(self.activation_bytes)),
        ):
            table.add_column(name, footer=total, justify="right", no_wrap=True)
        for layer in self.layers:
            table.add_row(
                layer.name or "(model)",
                layer.type,
                "x".join(map(str, layer.output_shape)) if layer.output_shape else "-",
                f"{layer.parameters:,}",
                _millions(layer.macs),
                _millions(layer.flops),
                _millions(layer.thop_2019),
                _kib(layer.activation_bytes),
            )
        return table


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.3f}"


def _kib(count: int) -> str:
    return f"{count / 1024:,.1f}"
