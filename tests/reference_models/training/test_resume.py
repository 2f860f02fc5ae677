"""Every recipe, as it is run by default, resumes to the bit: weights, optimiser, schedule, the best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from reference_models.training.budgets import for_synthetic, precision
from reference_models.training.callbacks import SafeCheckpoint
from reference_models.training.fit import Hardware, fit
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.sides import Sides
from reference_models.training.sources import Source
from reference_models.training.states import read_state
from reference_models.training.trained import BEST, LAST, MODEL
from tests.reference_models.training import faces
from tests.reference_models.training.given import StopAt, StopError

SMALL = {"image_size": 32, "batch_size": 4, "epochs": 4}
PAPERS_SMALL: dict[str, dict[str, Any]] = {
    "tra-net": {"options": {"width": 16, "freeze": False}, "batches": 4},
    "lla-net": {"options": {"width": 4}},
    "cednn": {"options": {"top_width": 16}},
    "dba-net": {"options": {"backbone": "timm/resnet10t"}},
}


def trained(
    recipe: Recipe, sides: Sides, folder: Path, *, precision: Any = "32-true", stop: StopAt | None = None
) -> dict[str, float]:
    hardware = Hardware(accelerator="cpu", precision=precision)
    watchers = () if stop is None else (stop,)
    return fit(recipe, sides, folder, hardware=hardware, progress=False, logs=False, watchers=watchers)


def assert_the_same(mine: Any, theirs: Any, name: str = "") -> None:
    """Compare two states: values, dtypes and strides."""
    assert type(mine) is type(theirs), name
    if isinstance(mine, torch.Tensor):
        assert mine.stride() == theirs.stride(), name
        assert torch.equal(mine, theirs), name
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs), name
        for key in mine:
            assert_the_same(mine[key], theirs[key], f"{name}/{key}")
    elif isinstance(mine, list | tuple):
        assert len(mine) == len(theirs), name
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert_the_same(one, other, f"{name}/{number}")
    elif "dir" not in name and "path" not in name and "best_k_models" not in name:
        assert mine == theirs, name


@pytest.mark.parametrize("kind", ["synthetic", pytest.param("paper", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["cednn", "dba-net", "lla-net", "tra-net"])
def test_interrupted_runs_end_with_the_same_weights_and_the_same_state(tmp_path: Path, name: str, kind: str):
    if kind == "synthetic":
        recipe, computed = for_synthetic(RECIPES[name]).changed(**SMALL), precision(RECIPES[name])
    else:
        recipe, computed = RECIPES[name].changed(**SMALL, **PAPERS_SMALL[name]), "32-true"
    sides = Source(identities=9, frames=3).sides(recipe)
    scores = trained(recipe, sides, tmp_path / "whole", precision=computed)
    for moment in ((1, 1), (3, 0)):
        with pytest.raises(StopError):
            trained(recipe, sides, tmp_path / "broken", precision=computed, stop=StopAt(*moment))
        assert read_state(tmp_path / "broken" / LAST)["epoch"] == moment[0] - 1
    assert trained(recipe, sides, tmp_path / "broken", precision=computed) == pytest.approx(
        scores, rel=0, abs=0, nan_ok=True
    )
    mine, theirs = (read_state(tmp_path / folder / LAST) for folder in ("broken", "whole"))
    assert mine["epoch"] == theirs["epoch"] == 3
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_the_same(mine[part], theirs[part], part)
    assert read_state(tmp_path / "broken" / BEST)["epoch"] == read_state(tmp_path / "whole" / BEST)["epoch"]
    mine, theirs = (safetensors.torch.load_file(tmp_path / folder / MODEL) for folder in ("broken", "whole"))
    assert_the_same(mine, theirs)


def test_a_run_that_has_stopped_early_is_not_trained_on(tmp_path: Path):
    class NoModel(StopAt):
        def on_test_start(self, *_: Any) -> None:
            raise StopError

    recipe = faces.recipe(patience=1, epochs=30, learning_rate=0.05)
    whole = trained(recipe, faces.sides(), tmp_path / "whole")
    assert (stopped := read_state(tmp_path / "whole" / LAST)["epoch"]) < 29
    with pytest.raises(StopError):  # after the last epoch, before the model is written
        trained(recipe, faces.sides(), tmp_path / "broken", stop=NoModel(-1, 0))
    assert trained(recipe, faces.sides(), tmp_path / "broken") == whole
    assert read_state(tmp_path / "broken" / LAST)["epoch"] == stopped


def test_the_best_epoch_is_still_known_in_a_folder_that_was_moved(tmp_path: Path):
    recipe = faces.recipe(epochs=6, learning_rate=0.05)
    whole = trained(recipe, faces.sides(), tmp_path / "whole")
    with pytest.raises(StopError):
        trained(recipe, faces.sides(), tmp_path / "here", stop=StopAt(4, 0))
    (tmp_path / "here").rename(tmp_path / "there")
    assert trained(recipe, faces.sides(), tmp_path / "there") == whole
    assert read_state(tmp_path / "there" / BEST)["epoch"] == read_state(tmp_path / "whole" / BEST)["epoch"]


def test_the_last_state_is_that_of_the_last_epoch_and_the_best_one_is_beside_it(tmp_path: Path):
    class Falling(StopAt):
        def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
            module.log("val/falling", -float(trainer.current_epoch))

        def setup(self, trainer: Any, module: Any, stage: str) -> None:
            (keeper,) = (each for each in trainer.callbacks if isinstance(each, SafeCheckpoint))
            keeper.monitor = "val/falling"

    trained(faces.recipe(), faces.sides(), tmp_path, stop=Falling(-1, 0))
    assert read_state(tmp_path / BEST)["epoch"] == 0
    assert read_state(tmp_path / LAST)["epoch"] == 2


def test_another_precision_is_another_run(tmp_path: Path):
    trained(faces.recipe(epochs=1), faces.sides(), tmp_path)
    with pytest.raises(ValueError, match=r"holds another run, with other precision: choose another folder"):
        trained(faces.recipe(epochs=1), faces.sides(), tmp_path, precision="bf16-mixed")


@pytest.mark.parametrize("there", [False, True])
def test_a_start_that_is_refused_leaves_the_folder_as_it_was(tmp_path: Path, there: bool):
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="batch_size must be at most the pictures of an epoch, 48, got 64"):
        trained(faces.recipe(batch_size=64), faces.sides(), folder)
    assert [path.name for path in tmp_path.rglob("*")] == (["run", "notes.txt"] if there else [])
    with pytest.raises(StopError):
        trained(faces.recipe(), faces.sides(), folder, stop=StopAt(0, 0))
    assert [path.name for path in tmp_path.rglob("*")] == (["run", "notes.txt"] if there else [])
    trained(faces.recipe(learning_rate=0.1, epochs=1), faces.sides(), folder)  # the folder is free for another run


def test_an_accelerator_that_is_not_there_is_one_error(tmp_path: Path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    hardware = Hardware(accelerator="gpu")
    with pytest.raises(ValueError, match="No supported gpu backend found"):
        fit(faces.recipe(), faces.sides(), tmp_path / "run", hardware=hardware, progress=False)
    assert not (tmp_path / "run").exists()
