"""The recorder's page: pictures, figures and warnings in one file, without a browser and in one."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser
from torch import Tensor, nn

import attnzoo
from attnzoo import create
from attnzoo.recorder.page import MOST_GATES
from tests.pages.browser import PHONE, visit
from tests.pages.parsed import check, spoken, with_class

SIZE = 48


def dead(layer: nn.Module) -> nn.Module:
    """Return the SE layer with a gate that is always 0."""
    with torch.no_grad():
        layer.fc2.weight.zero_()
        layer.fc2.bias.fill_(-50.0)
    return layer


@pytest.fixture(scope="module")
def image() -> Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    return torch.stack([rows, columns, (rows * columns).sqrt()])


@pytest.fixture(scope="module")
def recorder(image: Tensor) -> attnzoo.Recorder:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    model = nn.Sequential(first, create("cbam", 16), second, dead(create("se", 16)))
    with pytest.warns(RuntimeWarning, match="16 of 16 channels are dead"), attnzoo.record(model) as r:
        model(torch.stack([image, image.flip(1)]))
    return r


@pytest.fixture(scope="module")
def page(recorder: attnzoo.Recorder, image: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("look") / "look.html"
    recorder.page(path, image, title="<b>two</b> layers")
    return path


def test_it_has_the_image_every_gate_every_figure_and_the_warning(
    page: Path, recorder: attnzoo.Recorder, image: Tensor
):
    tree = check(page.read_text(encoding="utf-8"))
    assert spoken(tree.find("head/title")) == "<b>two</b> layers"
    figures = with_class(tree, "picture")
    assert [spoken(each.find("figcaption/strong")) for each in figures] == ["the image", *recorder.gates]
    pictures = [each.find("img").get("src") for each in figures if each.find("img") is not None]
    shown = [np.array(Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2])))) for each in pictures]
    expected = [(image.permute(1, 2, 0) * 255).numpy(), *recorder.overlay(image).values()]
    assert len(shown) == len(expected) == 2
    for one, other in zip(shown, expected, strict=True):
        assert np.abs(one.astype(float) - other).mean() < 4  # JPEG
    (table,) = tree.iter("table")
    rows = {spoken(row[0]): [spoken(cell) for cell in row] for row in table.find("tbody")}
    for name, one in recorder.statistics().items():
        assert rows[name][2] == f"{one.mean:.3f}"
        assert rows[name][-1] == ("warned" if one.alert() else "none")
    (said,) = {spoken(each) for each in with_class(tree, "alert")}
    assert said == recorder.alerts()[0]
    assert rows["3:channel"][7] == "16 of 16"


def test_a_curve_falls_from_the_greatest_channel_to_the_least(page: Path, recorder: attnzoo.Recorder):
    tree = check(page.read_text(encoding="utf-8"))
    lines = [each.get("points") for each in tree.iter() if str(each.tag).endswith("polyline")]
    values = recorder.gates["1:channel"][0].flatten().sort(descending=True).values
    heights = [float(point.partition(",")[2]) for point in lines[0].split()]
    torch.testing.assert_close(torch.tensor(heights), 100 * (1 - values), rtol=0, atol=0.06)
    assert {point.partition(",")[2] for point in lines[1].split()} == {"100.0"}


def test_very_many_gates_are_thinned_and_the_table_has_them_all(tmp_path: Path, image: Tensor):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), *(create("se", 4, rd_channels=2) for _ in range(MOST_GATES + 1)))
    with attnzoo.record(model) as r:
        model(image[None])
    r.page(tmp_path / "look.html", image)
    tree = check((tmp_path / "look.html").read_text(encoding="utf-8"))
    assert len(with_class(tree, "picture")) == 1 + (MOST_GATES + 2) // 2
    assert len(list(tree.iter("tr"))) == 1 + MOST_GATES + 1
    assert f"{(MOST_GATES + 2) // 2} of {MOST_GATES + 1} gates." in spoken(with_class(tree, "intro")[0])


def test_a_page_that_cannot_be_written_leaves_nothing(recorder: attnzoo.Recorder, image: Tensor, tmp_path: Path):
    with pytest.raises(ValueError, match=r"x\.png must end in \.html"):
        recorder.page(tmp_path / "x.png", image)
    with pytest.raises(ValueError, match=r"folder .*no does not exist"):
        recorder.page(tmp_path / "no" / "x.html", image)
    with pytest.raises(IndexError, match="index must be below 2"):
        recorder.page(tmp_path / "x.html", image, index=2)
    with pytest.raises(ValueError, match="no gate is kept"):
        attnzoo.record(nn.Conv2d(3, 3, 1)).page(tmp_path / "x.html", image)
    assert list(tmp_path.iterdir()) == []


def test_in_a_browser(browser: Browser, page: Path):
    for scheme, size in (("light", PHONE), ("dark", PHONE)):
        with visit(browser, page, scheme=scheme, size=size) as seen:
            pictures = seen.page.query_selector_all("#gates-all > figure")
            assert len(pictures) == 4
            for name in seen.sections():
                assert seen.width() == PHONE["width"], name
            seen.page.click("#tab-gates")
            seen.page.select_option('.filters[data-for="gates-all"] select', "channel")
            assert [each.is_visible() for each in pictures] == [False, True, False, True]
            assert seen.page.inner_text('.filters[data-for="gates-all"] [data-count]') == "2 of 4 pictures"
            seen.page.select_option('.filters[data-for="gates-all"] select', "")
            seen.show_all()
            assert seen.findings() == []
            sizes = "all => all.map(each => [each.naturalWidth, each.naturalHeight])"
            assert seen.page.eval_on_selector_all("#gates-all img", sizes) == [[SIZE, SIZE]] * 2
