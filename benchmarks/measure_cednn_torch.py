"""Measure what torch alone, without the compiled library, can make of CEDNN, and write results/cednn-torch-cpu.json.

    python -m benchmarks.measure_cednn_torch [--rounds 15] [--threads 2] [--output FILE]

Inference at 224 x 224, all in one interleaved run: ResNet-18 as torchvision has it; the network by torch; its 18
convolutions and its top alone, on inputs that are there already; and the blocks with sums and ReLUs inside of oneDNN's
convolutions, as only torch's compiler calls them. The latter cannot be used: their ReLU makes 0 of NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from attnzoo import ops
from attnzoo.ops.igc_block import fold, guided
from benchmarks.interleaved import measured, quartiles
from reference_models import CEDNN, cednn_top

RESULT = Path(__file__).with_name("results") / "cednn-torch-cpu.json"


class Convolution(NamedTuple):
    """A convolution with its input; ``added`` to what it makes, before the ReLU."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    padding: int
    groups: int
    added: Tensor | None

    def alone(self) -> Tensor:
        """Return what it makes, and nothing more."""
        return F.conv2d(self.x, self.weight, self.bias, padding=self.padding, groups=self.groups)

    def fused(self) -> Tensor:
        """Return the ReLU of the sum, by what oneDNN has for it."""
        fused, shape = torch.ops.mkldnn._convolution_pointwise, ([self.padding] * 2, [1, 1], [1, 1], self.groups)  # noqa: SLF001
        y: Tensor
        if self.added is None:
            y = fused(self.x, self.weight, self.bias, *shape, "relu", [], "")
        else:
            y = fused.binary(self.x, self.added, self.weight, self.bias, *shape, "add", None, "relu", [], None)
        return y


def convolutions(network: CEDNN, x: Tensor) -> list[Convolution]:
    """Return the convolutions of the blocks."""
    found = []
    for block in network.blocks:
        groups = block.branch.groups
        first, second, third = fold(block.stages(), groups)
        x = guided(x, block.channels, None, False, None).contiguous(memory_format=torch.channels_last)
        found.append(Convolution(x, *first, 1, groups, None))
        found.append(Convolution(found[-1].alone().relu(), *second, 0, 1, x))
        found.append(Convolution((found[-1].alone() + x).relu(), *third, 0, 1, None))
        x = found[-1].alone().relu()
        x = F.max_pool2d(x, 2) if block is not network.blocks[-1] else x
    return found


def measure(batch: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each candidate."""
    network, resnet = CEDNN(attention_blocks=0).eval(), torchvision.models.resnet18().eval()
    faces = torch.rand(batch, 3, 224, 224)
    with torch.inference_mode(), ops.backend("torch"):
        made = convolutions(network, faces)
        features = made[-1].fused()
        layers = (network.reduce, network.top1, network.top2, network.fc)
        calls: dict[str, Callable[[], object]] = {
            "ResNet-18": lambda: resnet(faces),
            "CEDNN by torch": lambda: network(faces),
            "its convolutions alone": lambda: [one.alone() for one in made],
            "its convolutions with sums and ReLUs": lambda: [one.fused() for one in made],
            "its top": lambda: cednn_top.logits(*layers, features),
        }
        found = quartiles(calls, rounds)
    whole = found["ResNet-18"][1]
    return [
        {"batch": batch, "what": name, "ms": round(time / 1e3, 2), "of ResNet-18": round(time / whole, 3)}
        for name, (_, time, _) in found.items()
    ]


if __name__ == "__main__":
    measured(
        "benchmarks.measure_cednn_torch",
        __doc__,
        RESULT,
        lambda rounds: [row for batch in (1, 8) for row in measure(batch, rounds)],
    )
