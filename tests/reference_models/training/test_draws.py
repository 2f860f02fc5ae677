"""An epoch's pictures depend on seed and epoch alone, and processes share them out."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from reference_models.training.draws import Draw, Drawn, EpochSampler, seed_of, shuffled


def batches(epoch: int, **options: int) -> list[list[int]]:
    sampler = EpochSampler(shuffled(23), seed=5, batch_size=6, **options)
    sampler.set_epoch(epoch)
    return [[draw.picture for draw in batch] for batch in sampler]


def test_an_epoch_shows_each_picture_once_and_leaves_out_what_fills_no_batch():
    drawn = [index for batch in batches(0) for index in batch]
    assert len(drawn) == 18
    assert len(set(drawn)) == 18
    assert batches(0) == batches(0)
    assert batches(0) != batches(1)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_together_see_what_one_sees(world_size: int):
    shares = [batches(4, rank=rank, world_size=world_size) for rank in range(world_size)]
    together = [sorted(index for share in step for index in share) for step in zip(*shares, strict=True)]
    assert together == [sorted(batch) for batch in batches(4)]
    assert {len(batch) for share in shares for batch in share} == {6 // world_size}


def test_random_transforms_depend_on_the_draw_and_on_nothing_else():
    class Noise:
        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(3) + index

        def __len__(self) -> int:
            return 9

    drawn = Drawn(Noise(), seed=1)
    first = drawn[Draw(0, 4)]
    before = torch.get_rng_state()
    torch.rand(5)
    state = torch.get_rng_state()
    assert torch.equal(drawn[Draw(0, 4)], first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(before, state)
    assert not torch.equal(drawn[Draw(1, 4)], first)
    assert not torch.equal(Drawn(Noise(), seed=2)[Draw(0, 4)], first)


def test_neighbouring_seeds_are_unrelated():
    seeds = [seed_of(run, epoch) for run in range(20) for epoch in range(20)]
    assert len(set(seeds)) == 400
    bits = Counter(bit for seed in seeds for bit in range(63) if seed >> bit & 1)
    assert all(140 < bits[bit] < 260 for bit in range(63))  # 200 expected, standard deviation 10


def test_bad_batch_sizes():
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 4 processes, got 6"):
        EpochSampler(shuffled(23), seed=0, batch_size=6, world_size=4)
    with pytest.raises(ValueError, match="batch_size must be at most the pictures of an epoch, 23, got 24"):
        EpochSampler(shuffled(23), seed=0, batch_size=24)
