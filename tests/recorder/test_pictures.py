"""Planes, overlays, sheets and feature maps: bright where the gate is great, and files whole or not at all."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import attnzoo
import reference_models
from tests.recorder.given import Given

GREY = np.full((40, 60, 3), 128, dtype=np.uint8)


def recorded(*gates: torch.Tensor) -> attnzoo.Recorder:
    model = nn.Sequential(*map(Given, gates))
    with attnzoo.record(model) as r:
        model(torch.ones(1, 1, 1, 1))
    return r


def test_a_plane_is_the_mean_over_channels_of_one_image():
    gate = torch.rand(2, 3, 4, 5)
    r = recorded(gate, torch.rand(2, 3, 1, 1))
    assert list(r.planes()) == ["0:given"]
    for index in (0, 1):
        np.testing.assert_allclose(r.planes(index)["0:given"], gate[index].mean(0).numpy(), rtol=1e-6)
    with pytest.raises(IndexError, match="index must be below 2, the images kept of 0:given, got 2"):
        r.planes(2)


def test_a_mask_that_all_images_share_is_that_of_each():
    r = recorded(torch.tensor([0.25, 0.75]).view(1, 1, 2, 1))
    assert r.planes(3)["0:given"].ravel().tolist() == [0.25, 0.75]


@pytest.mark.parametrize("tensor", [False, True], ids=["array", "tensor"])
def test_an_overlay_is_bright_where_the_gate_is_great(tensor: bool):
    gate = torch.tensor([[0.2, 0.3], [0.4, 0.9]]).view(1, 1, 2, 2)
    image = torch.full((3, 40, 60), 128 / 255) if tensor else GREY
    (over,) = recorded(gate).overlay(image).values()
    assert (over.shape, over.dtype) == ((40, 60, 3), np.uint8)
    light = over.astype(int).sum(2)
    corners = [light[0, 0], light[0, -1], light[-1, 0], light[-1, -1]]
    assert corners == sorted(corners)
    assert corners[-1] > 2 * corners[0]


def test_a_flat_gate_and_the_image_under_it():
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    picture[:, 4:] = 255
    (over,) = recorded(torch.full((1, 1, 2, 2), 0.5)).overlay(picture).values()
    assert over[:, 5:].astype(int).sum() > over[:, :3].astype(int).sum() + 3 * 8 * 3 * 90


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("x.png", TypeError, "image must be an array .* got str"),
        (GREY.astype(np.float32), TypeError, "got float32"),
        (GREY[..., 0], ValueError, r"image must have shape \(H, W, 3\), got \(40, 60\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), TypeError, "floating tensor .* got torch.uint8"),
        (torch.zeros(1, 3, 4, 4), ValueError, r"shape \(3, H, W\), got \(1, 3, 4, 4\)"),
        (torch.full((3, 4, 4), 1.5), ValueError, "image must lie in 0 to 1, got 1.5 to 1.5"),
        (torch.full((3, 4, 4), torch.nan), ValueError, "image must lie in 0 to 1, got nan"),
    ],
)
def test_images_of_another_kind_are_refused(image, error, message):
    with pytest.raises(error, match=message):
        recorded(torch.rand(1, 1, 2, 2)).overlay(image)


def test_matplotlib_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "attnzoo\[report\]"'):
        recorded(torch.rand(1, 1, 2, 2)).overlay(GREY)


def test_a_sheet_has_every_gate_and_says_what_it_left_out(tmp_path):
    torch.manual_seed(0)
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    recorded(torch.rand(1, 1, 3, 3), torch.rand(1, 9, 1, 1), torch.rand(1, 9)).sheet(small, GREY, title="a $title")
    recorded(*(torch.rand(1, 1, 2, 2) for _ in range(70))).sheet(large, GREY)
    with Image.open(small) as first, Image.open(large) as second:
        assert first.format == "PNG"
        assert first.width == 4 * 275
        assert second.width == 6 * 275
        rows = -(-(35 + 1) // 6)  # 70 gates are more than 60: every second one
        assert second.height > rows * 200
        assert np.asarray(first.convert("L")).std() > 10


def test_the_sheet_shows_what_the_gates_are(tmp_path):
    pictures = []
    for corner in (0, 3):
        gate = torch.full((1, 1, 2, 2), 0.1)
        gate.view(-1)[corner] = 0.9
        recorded(gate).sheet(tmp_path / "sheet.png", GREY)
        pictures.append(np.asarray(Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes())).convert("L")))
    assert pictures[0].shape == pictures[1].shape
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 60


def test_a_sheet_that_cannot_be_written_leaves_nothing(tmp_path):
    r = recorded(torch.rand(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"sheet.jpg must end in \.png"):
        r.sheet(tmp_path / "sheet.jpg", GREY)
    with pytest.raises(ValueError, match=r"folder .*absent does not exist"):
        r.sheet(tmp_path / "absent" / "sheet.png", GREY)
    with pytest.raises(ValueError, match="nothing to draw"):
        attnzoo.record(nn.Sequential()).sheet(tmp_path / "sheet.png", GREY)
    assert list(tmp_path.iterdir()) == []


def test_figure_14_of_cednn_rows_of_groups_where_the_face_moved():
    network = reference_models.create("cednn", image_size=32).eval()
    maps = torch.zeros(1, 5, 32, 32)
    maps[:, :, 8:16, 8:16] = 1
    found = attnzoo.feature_maps(network, "gates.0", torch.rand(1, 3, 32, 32), maps)
    small = torch.zeros(1, 1, 16, 16)
    small[..., 4:8, 4:8] = 1  # max-pooled with the features
    torch.testing.assert_close(found.after[:, :6], found.before[:, :6], rtol=0, atol=0)
    torch.testing.assert_close(found.after[:, 6:], found.before[:, 6:] * (1 + small))
    before, after = found.grids(rows=6)
    assert before.shape == after.shape == (6 * 18 - 2, 6 * 18 - 2)
    assert (after[:16] == before[:16]).all(), "the first row is the group that no map touches"
    assert (after[18:].astype(int) - before[18:]).max() > 20


def test_grids_share_one_scale_and_are_filled_by_rows():
    found = attnzoo.FeatureMaps(
        "m", torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1), torch.tensor([2.0, 4.0, 0.0]).view(1, 3, 1, 1)
    )
    before, after = found.grids(rows=2)
    assert before.shape == (4, 4)
    assert (before[0, 0], before[0, 3], before[3, 0], before[3, 3]) == (0, 64, 128, 255)
    assert (after[0, 0], after[0, 3], after[3, 0]) == (128, 255, 0)
    with pytest.raises(IndexError, match="index must be below 1"):
        found.grids(index=1)
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        found.grids(rows=0)


def test_feature_maps_are_saved_side_by_side(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), attnzoo.SqueezeExcite(16))
    attnzoo.feature_maps(model, "1", torch.rand(1, 3, 8, 8)).save(tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.width > 1.5 * picture.height
    assert not model[1]._forward_hooks


def test_feature_maps_of_what_is_no_map():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    model.add_module("unused", nn.ModuleList([nn.ReLU()]))
    model.forward = lambda x: model[2](model[1](model[0](x)))
    x = torch.rand(1, 3, 3, 3)
    for module, error, message in (
        ("lin", ValueError, "the model has no module 'lin'"),
        ("unused.0", ValueError, "did not run its module 'unused.0'"),
        ("1", TypeError, r"'1' must give a map \(B, C, H, W\), got shape \(1, 4\)"),
    ):
        with pytest.raises(error, match=message):
            attnzoo.feature_maps(model, module, x)
