"""Order, augmentation and samplers are functions of seed and epoch: looked at through ``fit``, by what is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_models.training.fit import Hardware, fit
from tests.reference_models.training.faces import recipe, sides
from tests.reference_models.training.given import Given, StopAt, StopError


def trained(folder: Path, *, workers: int = 0, seed: int = 0, stop: StopAt | None = None, **changes: object) -> Given:
    given = Given()
    watchers = (given, *([] if stop is None else [stop]))
    hardware = Hardware(accelerator="cpu", workers=workers)
    fit(recipe(**changes), sides(), folder, seed=seed, hardware=hardware, progress=False, logs=False, watchers=watchers)
    return given


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_has_its_own_order_and_its_own_augmentation(tmp_path: Path, workers: int):
    given = trained(tmp_path / "first", workers=workers)
    orders = [given.order(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(48)) for order in orders)
    assert orders[0] != orders[1]
    assert orders[1] != orders[2]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not [n for n, pixels in given.pixels(one).items() if given.pixels(other)[n] == pixels]
    assert trained(tmp_path / "again").epochs == given.epochs
    assert trained(tmp_path / "seed", seed=1).order(0) != orders[0]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("moment", [(1, 0), (1, 2), (2, 1)])
def test_a_resumed_run_is_given_what_an_undisturbed_one_is(tmp_path: Path, workers: int, moment: tuple[int, int]):
    whole = trained(tmp_path / "whole")
    with pytest.raises(StopError):
        trained(tmp_path / "broken", workers=workers, stop=StopAt(*moment))
    rest = trained(tmp_path / "broken", workers=workers)
    assert rest.epochs == {epoch: steps for epoch, steps in whole.epochs.items() if epoch >= moment[0]}


def test_frames_are_drawn_anew_by_the_weights_of_their_units_in_each_epoch(tmp_path: Path):
    given = trained(tmp_path, sampling="au-weighted", batches=3)
    assert given.order(0) != given.order(1)
    assert given.order(1) != given.order(2)


def test_epochs_longer_than_the_data_show_everything_before_anything_twice(tmp_path: Path):
    given = trained(tmp_path, batches=6, epochs=2)
    for epoch in range(2):
        order = given.order(epoch)
        assert sorted(order[:48]) == sorted(order[48:]) == list(range(48))
        assert order[:48] != order[48:]
    assert given.order(0) != given.order(1)
