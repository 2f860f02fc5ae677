"""The result of counting: frozen figures, and the tables that show them."""

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
        "MACs (fvcore)": "fvcore's FlopCountAnalysis: one a multiply-add of convolutions and matrix products, and a few"
        " an element of normalisations",
        "FLOPs (torch.utils.flop_counter)": "two a multiply-add of convolutions, matrix products and attention; nothing"
        " else",
        "operations (thop-2019)": "the rule of the thop package in 2019: Conv one a multiply-add and one for a bias,"
        " BatchNorm 4 an element, Linear 2 * in_features an output, AdaptiveAvgPool2d its window + 1 and AvgPool2d its"
        " kernel_size as given + 1 an output, else 0; by module, so that whatever is called through"
        " torch.nn.functional (LLAM's convolution) counts 0",
        "activation bytes": "outputs of every module call inside which no other module was called, except tensors that"
        " came in (identities, in-place modules); results of plain functions are not seen",
    }
)
"""What each counting convention counts, by the name under which its figures are printed."""

_PARAMETERS, _MACS, _FLOPS, _THOP, _BYTES = CONVENTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """One module's own share, without the modules inside it, summed over its calls.

    Attributes:
        name: As in ``model.named_modules()``; empty for the model itself.
        type: The class's name.
        calls: How often the forward pass called it.
        output_shape: Shape of the first tensor that its last call returned; None if there was none.
        parameters: Own parameters that no earlier row holds.
        macs: See :class:`Cost`, like the rest.
        flops: Two a multiply-add, by torch's flop counter.
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
    """What one forward pass costs; :data:`CONVENTIONS` says what each figure counts. Print it, or its :meth:`table`.

    Attributes:
        parameters: Elements of all parameters.
        trainable_parameters: Elements of those that require a gradient.
        macs: Multiply-adds by fvcore; None on the meta device, which torch cannot trace.
        flops: Floating-point operations by ``torch.utils.flop_counter``, two a multiply-add.
        thop_2019: Operations by the 2019 rule of thop.
        activation_bytes: Bytes of the outputs of all modules that call no other.
        uncounted: Operators that fvcore has no rule for, with their number of calls; they count 0 in ``macs``.
        layers: The modules that have a share of their own, in the order of definition. Their figures add up to these.
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
        """Return the totals, a line for each convention."""
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
