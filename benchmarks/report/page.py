"""The whole page."""

from __future__ import annotations

from collections.abc import Callable

from attnzoo import __version__
from attnzoo.pages import Section, render
from benchmarks.committed import Results
from benchmarks.report.attaching import attaching
from benchmarks.report.capabilities import capabilities
from benchmarks.report.claims import claims
from benchmarks.report.goals import goals
from benchmarks.report.layers import layers
from benchmarks.report.ledger import reproduction
from benchmarks.report.networks import networks
from benchmarks.report.operations import operations
from benchmarks.report.others import others
from benchmarks.report.overview import overview

SECTIONS: tuple[Callable[[Results], Section], ...] = (
    overview,
    reproduction,
    claims,
    goals,
    layers,
    operations,
    networks,
    attaching,
    capabilities,
    others,
)
"""The sections in order; the last one shows what the ones before it have left."""


def page(results: Results) -> str:
    """Return the report as one HTML file.

    Raises:
        ImportError: If jinja2 or matplotlib is not installed.
        ValueError: If a result is not what the page expects.
    """
    try:
        sections = [section(results) for section in SECTIONS]
        return render(
            "page.html",
            title="attnzoo: cost and speed",
            subtitle="Attention layers, fused operations and four facial-behaviour networks: every figure from a "
            "committed result, with the command that made it.",
            sections=sections,
            made=f"Made by attnzoo {__version__} from {len(results.names)} results. Figures of one table come from one "
            "run on one machine; times of different tables may not be compared.",
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"a result in {results.folder} lacks what the report shows: {type(error).__name__} {error}; it was made by "
            "another version of attnzoo"
        ) from error
