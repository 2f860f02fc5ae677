"""The ledger: the parameter and operation counts that the papers print, each compared with our count.

A printed figure is stored as a string, exactly as printed. Our count agrees if it equals the figure after rounding to
the printed decimals. Where the two differ, or the paper prints none, the entry has a reason. The networks are built and
counted at every call; no counts are stored here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Any, Literal

import torch
import torchvision
from torch import nn

import attnzoo
from reference_models.networks.registry import create

Quantity = Literal["parameters", "operations"]
Convention = Literal["parameters", "trainable", "thop-2019", "fvcore", "products"]
"""How a figure is counted: ``thop-2019`` and ``fvcore`` as in :data:`attnzoo.costs.CONVENTIONS`; ``products`` counts
multiply-adds of convolutions and matrix products only, half the value of torch's flop counter."""

PARAMETERS: dict[Convention, Callable[[nn.Module], Iterable[nn.Parameter]]] = {
    "parameters": nn.Module.parameters,
    "trainable": lambda model: (parameter for parameter in model.parameters() if parameter.requires_grad),
}
OPERATIONS: dict[Convention, Callable[[attnzoo.Cost], int | None]] = {
    "thop-2019": lambda cost: cost.thop_2019,
    "fvcore": lambda cost: cost.macs,
    "products": lambda cost: cost.flops // 2,
}
UNITS: dict[Quantity, tuple[str, int]] = {"parameters": ("M", 10**6), "operations": ("G", 10**9)}
"""Quantity to its unit symbol in the papers and the number that the symbol stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One printed figure and our count.

    Attributes:
        network: The network that was counted.
        variant: Its configuration.
        quantity: ``parameters``, printed in millions, or ``operations``, in billions (10^9).
        convention: How it was counted.
        source: Table or section of the paper that prints it; ``-`` if none does.
        paper: The figure as printed; None if the paper prints none.
        computed: Our count, exact.
        reason: Why the two differ, or why there is nothing to compare; empty if neither applies.
    """

    network: str
    variant: str
    quantity: Quantity
    convention: Convention
    source: str
    paper: str | None
    computed: int
    reason: str = ""

    @property
    def ours(self) -> Decimal:
        """Our count in the paper's unit, rounded half up to the printed decimals, or to four if none is printed."""
        decimals = Decimal("0.0001" if self.paper is None else self.paper)
        return (Decimal(self.computed) / UNITS[self.quantity][1]).quantize(decimals, rounding=ROUND_HALF_UP)

    @property
    def agrees(self) -> bool | None:
        """Whether our rounded count equals the printed figure; None if the paper prints none."""
        return None if self.paper is None else self.ours == Decimal(self.paper)


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure that a paper prints for one network in one convention; the fields are those of :class:`Figure`."""

    quantity: Quantity
    convention: Convention
    paper: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to count, with the figures that a paper prints for it.

    Attributes:
        network: Its name.
        variant: Its configuration.
        source: Table or section of the paper that prints the figures; ``-`` if none does.
        build: Builds the network on the default device.
        claims: The printed figures.
        image_size: Height and width of the RGB image for which operations are counted.
    """

    network: str
    variant: str
    source: str
    build: Callable[[], nn.Module]
    claims: Sequence[Claim] = field(default_factory=tuple)
    image_size: int = 224


DBA_TABLE_2 = {
    ("vgg16_bn", "baseline"): "134.30",
    ("vgg16_bn", "aw_o_db"): "14.81",
    ("vgg16_bn", "dba"): "15.94",
    ("resnet101", "baseline"): "42.51",
    ("resnet101", "aw_o_db"): "43.23",
    ("resnet101", "dba"): "49.19",
    ("densenet161", "baseline"): "26.49",
    ("densenet161", "aw_o_db"): "27.78",
    ("densenet161", "dba"): "42.91",
}
CEDNN_TABLE_6 = {
    "res-L1M18": ("13.33", "1.13"),
    "res-L2M9": ("11.34", "0.69"),
    "res-L3M6": ("10.68", "0.54"),
    "res-L6M3": ("10.02", "0.40"),
    "res-L9M2": ("9.8", "0.36"),
    "res-L18M1": ("9.59", "0.33"),
    "dense-L1M18": ("14.22", "1.32"),
    "dense-L2M9": ("12.23", "0.88"),
    "dense-L3M6": ("11.57", "0.74"),
    "dense-L6M3": ("10.91", "0.60"),
    "dense-L9M2": ("10.69", "0.56"),
    "dense-L18M1": ("10.48", "0.52"),
}
BASELINES_TABLE_6 = {
    "ResNet-18": (partial(torchvision.models.resnet18, num_classes=12), "11.18", "1.82"),
    "DenseNet-121": (partial(torchvision.models.densenet121, num_classes=12), "6.97", "2.90"),
    "IGC-L24M2": (partial(create, "igc_net", num_aus=12), "0.57", "0.83"),
}
CEDNN_BY_FVCORE = ("res-L1M18", "res-L3M6", "res-L18M1")

MISPRINT = (
    "the paper's figure is a misprint of 15.84, or its network has a fifth tap of 64 channels, which rounds to 15.94;"
    " its Table I and its D = 1024, 1280, 1408 say four taps"
)
CUT_OFF = "just above the middle between 0.54 and 0.55: the paper cut the figure off, or counted a trifle less"
AROUND = (
    "the text says 'around 77M': ours is 1% less; a check of sanity and no proof, many other readings come as close"
)
NOT_PRINTED = "the paper prints none"
OTHER_RULE = "for comparison: Table 6 follows the thop-2019 rule, which counts bias and BatchNorm otherwise"


def subjects() -> Iterator[Subject]:
    """Yield every network to count, with its printed figures."""
    for version, paper, reason in (("v1", "77", AROUND), ("v2", None, "the newer version prints none")):
        claims = (
            Claim("parameters", "parameters", paper, reason),
            Claim("parameters", "trainable", None, "stem and first stage are frozen; " + NOT_PRINTED),
        )
        source = "early version, Conclusion" if paper else "-"
        yield Subject("TRA-Net", version, source, partial(create, "tra_net", version=version), claims)
    yield from _lla_net()
    yield from _cednn()
    for variant, (build, parameters, operations) in BASELINES_TABLE_6.items():
        yield Subject("CEDNN's baselines", variant, "Table 6", build, _table_6(parameters, operations))
    for (backbone, strategy), parameters in DBA_TABLE_2.items():
        reason = MISPRINT if (backbone, strategy) == ("vgg16_bn", "dba") else ""
        build = partial(create, "dba_net", backbone=backbone, strategy=strategy, num_classes=7)
        claim = Claim("parameters", "parameters", parameters, reason)
        yield Subject("DBA-Net", f"{backbone} {strategy}", "Table II", build, (claim,), image_size=100)


def _lla_net() -> Iterator[Subject]:
    claims = (
        Claim("parameters", "parameters", None, NOT_PRINTED),
        Claim("operations", "products", None, NOT_PRINTED),
    )
    variants: dict[str, dict[str, Any]] = {
        "3x3": {"kernel_size": 3},
        "1x1": {"kernel_size": 1},
        "3x3, block level": {"kernel_size": 3, "placement": "block"},
        "plain ResNet-18": {"attention": False},
    }
    for variant, options in variants.items():
        build = partial(create, "lla_net", num_classes=7, **options)
        yield Subject("LLA-Net", variant, "-", build, claims, image_size=112)


def _cednn() -> Iterator[Subject]:
    plain: dict[str, Any] = {"num_aus": 12, "attention_blocks": 0}
    for variant, (parameters, operations) in CEDNN_TABLE_6.items():
        claims = _table_6(parameters, operations, CUT_OFF if variant == "res-L3M6" else "")
        yield Subject("CEDNN", variant, "Table 6", partial(create, "cednn", variant=variant, **plain), claims)
    claims = _table_6("9.79", "0.33")
    build = partial(create, "cednn", variant="res-L18M1", se="first", se_rd_ratio=1 / 18, **plain)
    yield Subject("CEDNN", "res-L18M1, first SE", "Table 8", build, claims)
    for variant in CEDNN_BY_FVCORE:
        by_fvcore = (Claim("operations", "fvcore", None, OTHER_RULE),)
        yield Subject("CEDNN", variant, "-", partial(create, "cednn", variant=variant, **plain), by_fvcore)


def _table_6(parameters: str, operations: str, reason: str = "") -> tuple[Claim, Claim]:
    return (
        Claim("parameters", "parameters", parameters),
        Claim("operations", "thop-2019", operations, reason),
    )


def figures_of(subject: Subject) -> list[Figure]:
    """Build the network of ``subject``, count it, and return its figures.

    Counts are taken on the meta device, without arithmetic; only fvcore's convention runs the network, on the CPU.
    """
    conventions = {claim.convention for claim in subject.claims}
    with torch.device("cpu" if "fvcore" in conventions else "meta"):
        model = subject.build()
        counts: dict[Convention, int | None] = {
            convention: sum(parameter.numel() for parameter in PARAMETERS[convention](model))
            for convention in conventions & PARAMETERS.keys()
        }
        if conventions & OPERATIONS.keys():
            measured = attnzoo.cost(model, torch.zeros(1, 3, subject.image_size, subject.image_size))
            counts |= {convention: count(measured) for convention, count in OPERATIONS.items()}
    figures = []
    for claim in subject.claims:
        computed = counts[claim.convention]
        if computed is None:
            raise RuntimeError(
                f"{claim.convention} cannot count {subject.network} {subject.variant} on the meta device"
            )
        figures.append(
            Figure(
                network=subject.network,
                variant=subject.variant,
                quantity=claim.quantity,
                convention=claim.convention,
                source=subject.source,
                paper=claim.paper,
                computed=computed,
                reason=claim.reason,
            )
        )
    return figures


def ledger(progress: Callable[[int, int, str], object] | None = None) -> list[Figure]:
    """Return every figure, in the order of :func:`subjects`, by building and counting each network.

    Args:
        progress: Called before each network with the number already counted, the total, and the network's name.

    Returns:
        One :class:`Figure` for each claim.
    """
    all_subjects = list(subjects())
    figures = []
    for done, subject in enumerate(all_subjects):
        if progress is not None:
            progress(done, len(all_subjects), f"{subject.network} {subject.variant}")
        figures += figures_of(subject)
    return figures


def totals(figures: Sequence[Figure]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return, for each (network, source), the number of figures that agree and the number that are printed."""
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for figure in figures:
        if figure.agrees is not None:
            agree, printed = counted.get((figure.network, figure.source), (0, 0))
            counted[figure.network, figure.source] = (agree + figure.agrees, printed + 1)
    return counted
