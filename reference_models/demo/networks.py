"""Runs the four networks on one face: their inputs, costs and times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import attnzoo
import reference_models
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.images import RGBImage
from reference_models.faces.landmarks import Face
from reference_models.papers.ledger import Claim, subjects
from reference_models.preparation.preparation import PREPARATIONS

SECONDS_A_NETWORK = 1.0
FEWEST_RUNS = 3


@dataclass(frozen=True, eq=False)
class Frames:
    """One face, aligned for each of the networks.

    Attributes:
        tra_net: 224 pixels, nose at the centre, chin at the bottom.
        lla_net: 112 pixels, a square around the landmarks.
        cednn: 224 pixels, aligned by dlib's five points.
        dba_net: 100 pixels, a square around the landmarks.
    """

    tra_net: AlignedFace
    lla_net: AlignedFace
    cednn: AlignedFace
    dba_net: AlignedFace


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """The run of one network on one face.

    Attributes:
        network: Its name in the ledger.
        variant: Its configuration in the ledger.
        inputs: Description of the inputs.
        outputs: Number and kind of the outputs. Their values are not kept: they are meaningless with random weights.
        claims: The paper's printed figures, from the ledger.
        cost: Its cost on these inputs.
        milliseconds: Median time of one forward pass.
        runs: Number of timed passes.
    """

    network: str
    variant: str
    inputs: str
    outputs: str
    claims: tuple[Claim, ...]
    cost: attnzoo.Cost
    milliseconds: float
    runs: int


def align(photograph: RGBImage, face: Face) -> Frames:
    """Return the face aligned for each network."""
    return Frames(**{name.replace("-", "_"): each.frame(photograph, face) for name, each in PREPARATIONS.items()})


@dataclass(frozen=True, eq=False)
class Plan:
    """A network to run.

    Attributes:
        network: Its name in the ledger.
        variant: Its configuration in the ledger.
        name: Name for :func:`reference_models.create`.
        options: Keyword arguments for :func:`reference_models.create`.
        inputs: Inputs of the network.
        described: Description of the inputs.
    """

    network: str
    variant: str
    name: str
    options: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    described: str


def plans(frames: Frames, difference: NDArray[np.uint8] | None) -> tuple[Plan, ...]:
    """Return the networks to run on the face.

    Args:
        frames: The aligned face.
        difference: Grey difference (H, W) to the neutral face, for CEDNN's maps; None plans CEDNN without maps.
    """
    center = torch.tensor([frames.tra_net.center_row])
    options = {"variant": "res-L18M1", "se": "first", "attention_blocks": 0 if difference is None else 3}
    inputs: tuple[Tensor, ...] = (_images(frames.cednn),)
    described = "224 px, no maps"
    if difference is not None:
        maps = attnzoo.threshold_maps(torch.from_numpy(difference)[None, None])
        inputs, described = (*inputs, maps), f"224 px, {maps.shape[1]} maps"
    return (
        Plan("TRA-Net", "v2", "tra_net", {"version": "v2"}, (_images(frames.tra_net), center), "224 px"),
        Plan("LLA-Net", "3x3", "lla_net", {"kernel_size": 3}, (_images(frames.lla_net),), "112 px"),
        Plan("CEDNN", "res-L18M1, first SE", "cednn", options, inputs, described),
        Plan("DBA-Net", "resnet101 dba", "dba_net", {"backbone": "resnet101"}, (_images(frames.dba_net),), "100 px"),
    )


def run_networks(planned: Sequence[Plan], started: Callable[[str], Any]) -> list[NetworkRun]:
    """Build the networks with random weights and run each on its frame.

    Args:
        planned: The networks, from :func:`plans`.
        started: Is called with each network's name before it is built.
    """
    claims = {(subject.network, subject.variant): tuple(subject.claims) for subject in subjects()}
    runs = []
    for plan in planned:
        started(plan.network)
        runs.append(_run(plan, claims[plan.network, plan.variant]))
    return runs


def _run(plan: Plan, claims: tuple[Claim, ...]) -> NetworkRun:
    model = reference_models.create(plan.name, **plan.options).eval()
    with torch.inference_mode():
        logits = model(*plan.inputs)
        seconds: list[float] = []
        while len(seconds) < FEWEST_RUNS or sum(seconds) < SECONDS_A_NETWORK:
            start = time.perf_counter()
            model(*plan.inputs)
            seconds.append(time.perf_counter() - start)
    return NetworkRun(
        network=plan.network,
        variant=plan.variant,
        inputs=plan.described,
        outputs=f"{logits.shape[1]} {'AUs' if plan.name in {'tra_net', 'cednn'} else 'expressions'}",
        claims=claims,
        cost=attnzoo.cost(model, *plan.inputs),
        milliseconds=1000 * statistics.median(seconds),
        runs=len(seconds),
    )


def _images(aligned: AlignedFace) -> Tensor:
    return torch.from_numpy(aligned.image).permute(2, 0, 1)[None].float() / 255
