"""The demonstration, run once for real, and its parts."""

from __future__ import annotations

import io
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import reference_models
from attnzoo import RegionMask
from reference_models.demo import backbone, networks, run
from reference_models.extras import MissingExtraError
from reference_models.faces.alignment import align_chip
from reference_models.faces.difference import difference
from reference_models.figures import overlay
from reference_models.figures.overlay import Sheet
from tests.reference_models import astronaut


@pytest.fixture(scope="module")
def frames():
    return networks.align(astronaut.photograph(), astronaut.face())


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    """Return what one whole run prints, and the sheet that it writes."""
    folder = tmp_path_factory.mktemp("demo")
    console = Console(file=io.StringIO(), width=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "SECONDS_A_NETWORK", 0.0)
        patch.setattr(networks, "FEWEST_RUNS", 1)
        run(None, folder / "sheet.png", None, console=console, progress=Console(file=io.StringIO()))
    return console.file.getvalue(), folder / "sheet.png"


def test_the_backbone_says_the_same_after_attaching(demonstration):
    printed, _ = demonstration
    running = " ".join(printed.split())
    assert "cbam attached to tf_efficientnet_lite0 after each stage: 5 sites, 15,786 parameters added" in running
    assert re.search(r"\bse attached to tf_efficientnet_lite0 after each block: 1\d sites, \d\d,\d{3} param", running)
    assert "All 1000 logits before and after: identical, bit for bit." in printed
    rows = re.findall(r"^  (\S.*?)\s+(0\.\d{4})\s+(\S.*?)\s+(0\.\d{4})", printed, flags=re.MULTILINE)
    assert len(rows) == 5
    assert all((name, likely) == (after, likely_after) for name, likely, after, likely_after in rows)
    assert rows[0][0] == "bobsled"
    assert float(rows[0][1]) > 0.1


def test_the_table_holds_the_counts_and_the_papers_figures(demonstration):
    printed, _ = demonstration
    table = printed[printed.index("The papers' networks") :]
    for network, parameters, paper in (
        ("TRA-Net", "77,227,132", "-"),
        ("LLA-Net", "23,715,783", "-"),
        ("CEDNN", "9,790,530", "9.79 M"),
        ("DBA-Net", "49,191,223", "49.19 M"),
    ):
        assert re.search(rf"{network}\s+{parameters}\s+{paper}\s+\d+\.\d{{3}} G.* ms", table), network
    assert re.search(r"CEDNN .* 0\.3\d{2} G\s+0\.33 G\s+\d+ ms", table)
    assert "random weights" in table
    assert "mean nothing" in " ".join(table.split())


def test_it_ends_with_the_sheet(demonstration):
    printed, path = demonstration
    end = printed[printed.index("Attention overlay:") :].replace("\n", "").replace(" ", "")
    assert re.fullmatch(rf"Attentionoverlay:{re.escape(str(path))}\(\d+safterloading\)", end)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 1500
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 40
    assert (pixels == 255).all(2).mean() < 0.5  # pictures, and not mostly empty paper
    assert list(path.parent.iterdir()) == [path]


def test_no_line_is_wider_than_the_console(demonstration):
    printed, _ = demonstration
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed


def test_the_weights_are_trained_ones():
    """The two classes that nobody confuses with anything: a cat and an espresso from scikit-image."""
    from skimage import data

    model = backbone.pretrained()
    with torch.inference_mode():
        for photograph, expected in ((data.chelsea(), "cat"), (data.coffee(), "espresso")):
            (name, probability), *_ = backbone._likeliest(model(backbone._normalised(photograph)))
            assert expected in name
            assert probability > 0.2


def test_gates_are_those_of_cbam_after_each_stage():
    attended = backbone.attend(astronaut.photograph())
    cbam, se = attended.attachments
    assert [name for name, _ in attended.gates] == [row.site for row in cbam.plan.rows]
    assert [gate.shape for _, gate in attended.gates] == [(112, 112), (56, 56), (28, 28), (14, 14), (7, 7)]
    assert all(0 <= gate.min() < gate.max() <= 1 for _, gate in attended.gates)
    assert len(se.plan.rows) > len(cbam.plan.rows)
    assert attended.identical


@pytest.mark.parametrize(
    ("rows", "columns", "size"), [(512, 512, (224, 224)), (100, 400, (64, 224)), (9, 900, (32, 224))]
)
def test_the_backbone_sees_the_whole_photograph(rows, columns, size):
    x = backbone._normalised(np.full((rows, columns, 3), 127, np.uint8))
    assert x.shape == (1, 3, *size)
    assert x.abs().max() < 1e-6  # 127 is the mean that these weights were trained with


def test_a_file_of_other_weights_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    monkeypatch.setattr(backbone, "data_file", lambda *args, **options: path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold the 247 tensors of tf_efficientnet_lite0"):
        backbone.pretrained()


def test_the_frames_are_what_the_networks_take(frames):
    sizes = {plan.name: tuple(plan.inputs[0].shape) for plan in networks.plans(frames, None)}
    assert sizes == {
        "tra_net": (1, 3, 224, 224),
        "lla_net": (1, 3, 112, 112),
        "cednn": (1, 3, 224, 224),
        "dba_net": (1, 3, 100, 100),
    }
    tra_net = networks.plans(frames, None)[0]
    assert tra_net.inputs[1].item() == pytest.approx(112.0)
    assert tra_net.inputs[0].max() <= 1
    for aligned in (frames.lla_net, frames.dba_net):  # the crops hold the whole face
        assert aligned.points[17:].min() > 0
        assert aligned.points[17:].max() < len(aligned.image)


def test_a_neutral_frame_gives_cednn_its_maps(frames):
    photograph = np.array(astronaut.photograph())
    mouth = astronaut.face().points[48:].mean(0).round().astype(int)
    photograph[mouth[1] - 4 : mouth[1] + 4, mouth[0] - 8 : mouth[0] + 8] = 0
    neutral = align_chip(photograph, astronaut.face().points, size=224)
    levels = difference(neutral, frames.cednn).levels
    assert levels.shape == (224, 224)
    plan = next(plan for plan in networks.plans(frames, levels) if plan.name == "cednn")
    maps = plan.inputs[1]
    assert maps.shape == (1, 5, 224, 224)
    assert set(maps.unique().tolist()) == {0.0, 1.0}
    row, column = frames.cednn.to_frame([mouth.astype(float)])[0].round().astype(int)[::-1]
    assert maps[0, :, row, column].tolist() == [1.0] * 5
    assert not maps[:, :, :80].any()
    assert plan.options["attention_blocks"] == 3
    (result,) = networks.run_networks([plan], started=lambda name: None)
    assert result.inputs == "224 px, 5 maps"
    assert result.cost.parameters == 9_790_530
    assert result.outputs == "12 AUs"
    assert result.runs >= networks.FEWEST_RUNS
    assert result.milliseconds > 0


def test_every_plan_stands_in_the_ledger(frames):
    named = {plan.name for plan in networks.plans(frames, None)}
    assert named | {"igc_net"} == set(reference_models.list_models())


GATES = [("stage", np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))]


def test_any_name_can_be_a_title_and_the_sheet_grows_with_what_is_drawn(frames):
    heights = []
    for name, options in (("$x^$ and \\frac{ ü", {}), ("字", {"difference": np.eye(224, dtype=np.uint8) * 255})):
        drawn = Sheet(name, astronaut.photograph()[:256], astronaut.face(), frames.tra_net, GATES, **options)
        with Image.open(io.BytesIO(overlay.draw(drawn))) as image:
            assert image.format == "PNG"
            heights.append(image.height)
    assert heights[1] > heights[0] + 200


def test_the_regions_drawn_are_the_masks_of_tra_net(frames):
    drawn = overlay._regions(frames.tra_net)
    mask = RegionMask(1, frame_height=224).masks(torch.ones(1, 1, 224, 224), frames.tra_net.center_row)
    for name, pixels in drawn.items():
        expected = frames.tra_net.image * mask[name][0, 0].numpy().astype(np.uint8)[:, :, None]
        np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(drawn["upper"] + drawn["lower"], frames.tra_net.image)


def test_matplotlib_missing_is_said(frames, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'matplotlib is not installed; .*"attnzoo\[report\]"'):
        overlay.draw(Sheet("name", astronaut.photograph(), astronaut.face(), frames.tra_net, GATES))
