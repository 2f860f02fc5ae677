"""The residual branch before the addition: where squeeze-and-excitation belongs."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from attnzoo.attach.probe import Probe, alive
from attnzoo.attach.sites import Site


def branch_sites(
    probed: Probe, blocks: list[str], site: Callable[..., Site]
) -> tuple[list[Site], dict[str, str]]:
    raise ValueError("branch")
