"""Two real processes normalise as one does with both halves of the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from reference_models.training.sync_norm import SynchronisedBatchNorm2d, synchronise


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4, affine=False)).double()


def images() -> torch.Tensor:
    return torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


def outcome(module: nn.Module, x: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    y = module(x)
    (y * weights).sum().backward()
    gradients = {f"gradient {name}": p.grad for name, p in module.named_parameters()}
    return {"y": y.detach(), **gradients, **{name: b.double() for name, b in module.named_buffers()}}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    module = network()
    synchronise(module)
    half = slice(2 * rank, 2 * rank + 2)
    torch.save(outcome(module, images()[half], torch.arange(4.0).view(4, 1, 1, 1)[half]), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_compute_what_one_does(tmp_path: Path):
    torch.multiprocessing.spawn(process, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = outcome(network(), images(), torch.arange(4.0).view(4, 1, 1, 1))
    for name, expected in alone.items():
        if name == "y":
            got = torch.cat([first[name], second[name]])
        else:
            got = first[name] + second[name] if name.startswith("gradient") else first[name]
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_one_process_alone_is_torchs(training: bool):
    module, plain = network().train(training), network().train(training)
    synchronise(module)
    assert isinstance(module[1], SynchronisedBatchNorm2d)
    assert list(module.state_dict()) == list(plain.state_dict())
    assert torch.equal(module(images()), plain(images()))
