"""Two real processes over gloo: DDP without a search for unused parameters, and FSDP2."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import attnzoo
from tests.attach.cases import set_blends

STEPS = 3


def start_model() -> tuple[nn.Module, attnzoo.Attachment]:
    torch.manual_seed(5)
    model = timm.create_model("test_vit", num_classes=3, img_size=64)
    attachment = attnzoo.attach(model, "cbam", "block", norm_layer=None, rd_ratio=1.0)
    set_blends(attachment, 0.5)
    return model, attachment


def batches(rank: int | None) -> list[torch.Tensor]:
    """The batch of one process, or for None all of them."""
    generator = torch.Generator().manual_seed(9)
    drawn = [torch.randn(4, 3, 64, 64, generator=generator) for _ in range(STEPS)]
    return drawn if rank is None else [batch[rank * 2 : rank * 2 + 2] for batch in drawn]


def train(model: nn.Module, parameters: list[nn.Parameter], rank: int | None) -> None:
    optimiser = torch.optim.SGD(parameters, lr=0.05)
    for batch in batches(rank):
        optimiser.zero_grad()
        model(batch).square().mean().backward()
        optimiser.step()


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model, attachment = start_model()
    wrapped = DistributedDataParallel(model, find_unused_parameters=False)
    train(wrapped, list(wrapped.parameters()), rank)
    if rank == 0:
        torch.save(attachment.state_dict(), Path(folder) / "ddp.pt")

    model, attachment = start_model()
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    train(model, list(model.parameters()), rank)
    whole = {key: tensor.full_tensor() for key, tensor in attachment.state_dict().items()}
    try:
        attachment.detach()
    except RuntimeError as error:
        refusal = str(error)
    else:
        refusal = ""
    if rank == 0:
        torch.save({"state": whole, "refusal": refusal}, Path(folder) / "fsdp.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def trained() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.multiprocessing.spawn(process, args=(folder,), nprocs=2)
        sharded = torch.load(Path(folder) / "fsdp.pt", weights_only=True)
        results = {"ddp": torch.load(Path(folder) / "ddp.pt", weights_only=True), "fsdp": sharded["state"]}
    model, attachment = start_model()
    results["start"] = {key: tensor.clone() for key, tensor in attachment.state_dict().items()}
    train(model, list(model.parameters()), None)
    return {**results, "alone": attachment.state_dict(), "refusal": sharded["refusal"]}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_train_the_attention_as_one_does(trained: dict, how: str) -> None:
    assert trained["alone"].keys() == trained[how].keys()
    for key, tensor in trained["alone"].items():
        assert not torch.equal(tensor, trained["start"][key]), key
        torch.testing.assert_close(trained[how][key], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_detaching_from_a_sharded_model_is_refused(trained: dict) -> None:
    assert "fully_shard changes it" in trained["refusal"]


def test_attaching_to_what_has_counted_its_parameters_is_refused() -> None:
    model = torch.compile(nn.Sequential(nn.Conv2d(3, 4, 1)))
    with pytest.raises(ValueError, match="attach before the model is made a OptimizedModule"):
        attnzoo.attach(model, "se", "stage")
