"""Every claim of the papers that is tested, with its printed figures."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from reference_models.papers.claims.claim import SCORES, SMALLEST, Claim, CostClaim

_TRA: dict[str, Any] = {"paper": "TRA-Net", "source": "Table 2", "first": "tra-net-full", "score": SCORES["tra-net"]}
_CEDNN: dict[str, Any] = {"paper": "CEDNN", "score": SCORES["cednn"]}
_SAME_SIZE = "all networks at their full width and at one image size"


def _tra_net() -> Iterator[Claim]:
    removed = {
        "hard-mask": ("hard masks help", "tra-net-no-mask", "49.9"),
        "cbam": ("CBAM helps", "tra-net-no-cbam", "51.9"),
        "channel": ("CBAM's channel half matters", "tra-net-no-channel", "55.3"),
        "spatial": ("CBAM's spatial half matters", "tra-net-no-spatial", "56.2"),
        "no-residual": ("a residual connection in CBAM hurts", "tra-net-residual", "56.3"),
    }
    for name, (statement, second, figure) in removed.items():
        yield Claim(name=f"tra-net/{name}", statement=statement, second=second, printed=("59.0", figure), **_TRA)
    yield Claim(
        name="tra-net/faster",
        paper="TRA-Net",
        statement="a residual connection in CBAM converges faster",
        source="section 4.3",
        first="tra-net-residual",
        second="tra-net-full",
        printed=None,
        score="train/loss",
        higher=False,
        remark="compared is the training loss, averaged over all epochs: the area under its curve",
    )


def _cednn() -> Iterator[Claim]:
    for name, title, figure in (
        ("resnet18", "ResNet-18", "53.6"),
        ("densenet121", "DenseNet-121", "58.0"),
        ("igc-net", "IGC-L24M2", "65.5"),
    ):
        yield Claim(
            name=f"cednn/beats-{name}",
            statement=f"beats {title} from the face alone",
            source="Table 4",
            first="cednn-plain",
            second=f"cednn-{name}",
            printed=("69.5", figure),
            remark=_SAME_SIZE,
            **_CEDNN,
        )
    compared = {
        "maps": ("difference maps help", "Tables 10, 4", "cednn-maps2", "cednn-plain", ("73.8", "69.5")),
        "three-beat-two": (
            "maps in three blocks beat two", "Tables 13, 11", "cednn-maps3-se", "cednn-maps2-se", ("74.4", "72.4")
        ),
        "three-beat-four": (
            "maps in three blocks beat four", "Tables 13, 14", "cednn-maps3-se", "cednn-maps4-se", ("74.4", "72.4")
        ),
        "first-se": (
            "the first SE position beats the second", "Tables 11, 12", "cednn-maps2-se", "cednn-maps2-se-second",
            ("72.4", "71.5"),
        ),
    }  # fmt: skip
    for name, (statement, source, first, second, printed) in compared.items():
        yield Claim(
            name=f"cednn/{name}", statement=statement, source=source, first=first, second=second, printed=printed,
            **_CEDNN,
        )  # fmt: skip
    yield Claim(
        name="cednn/larger-l-equal",
        statement="L = 18 is no worse than L = 1",
        source="Table 4",
        first="cednn-plain",
        second="cednn-l1",
        printed=("69.5", "68.1"),
        margin=-SMALLEST,
        remark="no worse: by less than the smallest effect of interest",
        **_CEDNN,
    )


def _dba_net() -> Iterator[Claim]:
    table = {
        "vgg16-bn": ("VGG-16", "78.81", "77.35", "74.96"),
        "resnet101": ("ResNet-101", "79.33", "77.48", "77.10"),
        "densenet161": ("DenseNet-161", "79.37", "77.75", "77.21"),
    }
    for backbone, (title, dba, aw_o_db, baseline) in table.items():
        for better, worse, figures in (
            ("dba", "aw-o-db", (dba, aw_o_db)),
            ("aw-o-db", "baseline", (aw_o_db, baseline)),
        ):
            names = {"dba": "DBA", "aw-o-db": "Aw/oDB", "baseline": "the baseline"}
            yield Claim(
                name=f"dba-net/{backbone}-{better}",
                paper="DBA-Net",
                statement=f"{title}: {names[better]} beats {names[worse]}",
                source="Table II",
                first=f"dba-net-{backbone}-{better}",
                second=f"dba-net-{backbone}-{worse}",
                printed=figures,
                score=SCORES["dba-net"],
                remark="the paper's backbones are pretrained on ImageNet; ours start from random weights",
            )


def _lla_net() -> Iterator[Claim]:
    for second, title in (("plain", "the plain ResNet-18"), ("se", "SE"), ("cbam", "CBAM")):
        yield Claim(
            name=f"lla-net/beats-{second}",
            paper="LLA-Net",
            statement=f"LLAM, which reduces nothing, beats {title}",
            source="section III.B",
            first="lla-net-llam",
            second=f"lla-net-{second}",
            printed=None,
            score=SCORES["lla-net"],
            remark="argued in the text; the only figures are its own score, 0.42, and the challenge's baseline, 0.36",
        )


def _costs() -> Iterator[CostClaim]:
    for second, title, figure in (
        ("resnet18", "ResNet-18", "1.82"),
        ("densenet121", "DenseNet-121", "2.90"),
        ("igc-net", "IGC-L24M2", "0.83"),
    ):
        yield CostClaim(
            name=f"cednn/operations-{second}",
            paper="CEDNN",
            statement=f"at less than half of {title}'s operations",
            source="Table 6",
            first="cednn-plain",
            second=f"cednn-{second}",
            printed=("0.33", figure),
            at_most=0.5,
        )
    yield CostClaim(
        name="cednn/larger-l-operations",
        paper="CEDNN",
        statement="L = 18 needs less than half of L = 1's operations",
        source="Table 6",
        first="cednn-plain",
        second="cednn-l1",
        printed=("0.33", "1.13"),
        at_most=0.5,
    )


CLAIMS: Mapping[str, Claim | CostClaim] = MappingProxyType(
    {claim.name: claim for claims in (_tra_net, _cednn, _costs, _dba_net, _lla_net) for claim in claims()}
)


def chosen(patterns: Sequence[str]) -> list[Claim | CostClaim]:
    """Return the claims whose names match one of the patterns, in the registry's order; all claims without patterns.

    Args:
        patterns: Names, the part of a name before the ``/``, or shell patterns such as ``cednn/beats-*``.

    Raises:
        ValueError: If a pattern matches no claim; the message lists the closest names.
    """
    selected: set[str] = set()
    for pattern in patterns:
        wanted = pattern.replace("_", "-")
        matching = {name for name in CLAIMS if fnmatchcase(name, wanted) or name.startswith(f"{wanted}/")}
        if not matching:
            close = difflib.get_close_matches(pattern, CLAIMS, n=3, cutoff=0.3) or list(CLAIMS)[:3]
            raise ValueError(f"no claim is named {pattern!r}; did you mean {', '.join(close)}?")
        selected |= matching
    return [claim for name, claim in CLAIMS.items() if not patterns or name in selected]
