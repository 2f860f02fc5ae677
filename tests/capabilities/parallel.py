"""DDP and FSDP2 in two real processes over gloo: the gradients of both halves of a batch are those of the whole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests.capabilities.subjects import Subject, subjects
from tests.capabilities.table import reason
from tests.layers import cases

WAYS = ("DDP", "FSDP2")
RANKS = 2


class Scaled(nn.Module):
    """A subject behind a parameter, as within a network: some layers have none of their own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.25]))
        self.module = module

    def forward(self, *arguments: Any) -> Any:
        return self.module(*cases.mapped(arguments, lambda x: x * self.scale))


def outcomes(names: Sequence[str], start_method: str = "spawn") -> dict[str, dict[str, str]]:
    """Return by way and subject why it failed, empty if it did not; all in one start of the processes.

    Raises:
        Exception: Whatever ended a process.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(_rank, (folder, tuple(names)), RANKS, start_method=start_method)
        found: dict[str, dict[str, str]] = json.loads(Path(folder, "outcomes.json").read_text())
    return found


def _rank(rank: int, folder: str, names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    mesh = dist.device_mesh.init_device_mesh("cpu", (RANKS,))
    found: dict[str, dict[str, str]] = {way: {} for way in WAYS}
    known = subjects()
    for name in names:
        for way in WAYS:
            torch.manual_seed(7)
            found[way][name] = _tried(known[name], way, rank, mesh)
    if rank == 0:
        Path(folder, "outcomes.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _tried(subject: Subject, way: str, rank: int, mesh: Any) -> str:
    try:
        model = Scaled(subject.make("cpu"))
        batch = subject.inputs(model.module, 2 * RANKS, subject.size)
        expected = _gradients(model, model, batch)
        mine = cases.mapped(batch, lambda x: x[2 * rank : 2 * rank + 2])
        if way == "DDP":
            got = _gradients(model, DistributedDataParallel(model), mine)
        else:
            if any(True for _ in model.module.parameters()):
                fully_shard(model.module, mesh=mesh)
            fully_shard(model, mesh=mesh)
            got = [gradient.full_tensor() for gradient in _gradients(model, model, mine)]
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return reason(error)
    return ""


def _gradients(model: nn.Module, called: nn.Module, arguments: tuple[Any, ...]) -> list[Any]:
    """Return the gradient of every parameter; the loss is a mean over the batch."""
    model.zero_grad()
    loss: Tensor = sum(output.square().flatten(1).sum(1).mean() for output in cases.leaves(called(*arguments)))
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]
