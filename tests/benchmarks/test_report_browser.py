"""The report in a real browser: quiet, offline, drawn, filtered, by keyboard, light and dark, on phones, accessible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.report.__main__ import main
from tests.pages.browser import PHONE, visit

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SHOWN = "document.querySelectorAll('main > section:not([hidden])').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["-o", str(path)]) == 0
    return path


def test_every_plot_is_drawn_and_one_section_is_shown_at_a_time(browser: Browser, page: Path):
    drawn = 0
    with visit(browser, page) as seen:
        for name in seen.sections():
            assert seen.page.evaluate(SHOWN) == 1
            for plot in seen.page.query_selector_all(f"#{name} .plot"):
                area = plot.query_selector(".drawing").bounding_box()
                assert area["width"] > 300
                for mark in plot.query_selector_all(".point use"):
                    box = mark.bounding_box()
                    assert box["width"] > 4
                    assert area["x"] <= box["x"] <= area["x"] + area["width"]
                    assert area["y"] <= box["y"] <= area["y"] + area["height"]
                drawn += 1
    assert drawn >= 8


def test_tables_are_filtered_and_sorted(browser: Browser, page: Path):
    measured = json.loads((RESULTS / "ops-cpu.json").read_text())["rows"]
    with visit(browser, page) as seen:
        seen.page.click("#tab-operations")
        seen.page.click("#operations-all-caption")
        filters = '.filters[data-for="operations-all"]'
        seen.page.select_option(f'{filters} select[data-column="0"]', "se")
        expected = sum(row["layer"] == "se" for row in measured)
        shown = "#operations-all tbody tr:not([hidden])"
        assert len(seen.page.query_selector_all(shown)) == expected
        assert seen.page.inner_text(f"{filters} [data-count]") == f"{expected} of {len(measured)} rows"
        seen.page.fill(f"{filters} input", "torchvision bf16")
        both = [r for r in measured if (r["layer"], r["provider"], r["dtype"]) == ("se", "torchvision", "bf16")]
        assert len(seen.page.query_selector_all(shown)) == len(both)
        seen.page.click('#operations-all [data-sort="6"]')
        times = seen.page.eval_on_selector_all(f"{shown} td:nth-child(7)", "all => all.map(each => each.dataset.order)")
        assert [float(time) for time in times] == sorted(row["median_us"] for row in both)
        assert seen.page.get_attribute("#operations-all th:nth-child(7)", "aria-sort") == "ascending"
        seen.page.click('#operations-all [data-sort="6"]')
        assert seen.page.get_attribute("#operations-all th:nth-child(7)", "aria-sort") == "descending"


def test_it_works_by_keyboard(browser: Browser, page: Path):
    with visit(browser, page) as seen:
        keys, told = seen.page.keyboard, lambda: seen.page.inner_text("#tip")
        focused = "document.activeElement.id"
        seen.page.focus("#tab-overview")
        for _ in range(4):
            keys.press("ArrowRight")
        assert seen.page.evaluate(focused) == "tab-layers"
        assert seen.page.is_visible("#layers-forward")
        for _ in range(30):
            keys.press("Tab")
            if seen.page.evaluate("document.activeElement.classList.contains('point')"):
                break
        first = seen.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert told() == first
        keys.press("ArrowRight")
        second = seen.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert second != first
        assert told() == second
        keys.press("Escape")
        assert seen.page.is_hidden("#tip")
        seen.page.focus('#layers-forward [data-series="0"]')
        keys.press("Enter")
        assert seen.page.get_attribute('#layers-forward [data-series="0"]', "aria-pressed") == "false"
        points = seen.page.query_selector_all("#layers-forward .series-0.point")
        assert points
        assert not any(point.is_visible() for point in points)
        keys.press("Enter")
        assert all(point.is_visible() for point in points)


def test_a_mouse_over_a_point_reads_it(browser: Browser, page: Path):
    with visit(browser, page) as seen:
        seen.page.click("#tab-layers")
        point = seen.page.query_selector("#layers-forward .point")
        point.query_selector("use").hover(force=True)
        assert seen.page.inner_text("#tip").endswith(" ms")
        seen.page.mouse.move(5, 5)
        assert seen.page.is_hidden("#tip")


def test_light_and_dark(browser: Browser, page: Path):
    papers = {}
    for scheme, other in (("light", "Dark"), ("dark", "Light")):
        with visit(browser, page, scheme=scheme) as seen:
            papers[scheme] = seen.computed("body", "backgroundColor")
            mark = "#layers-forward .series-0.point use"
            papers[scheme, "mark"] = seen.computed(mark, "fill")
            assert seen.page.inner_text("#theme") == other
            seen.page.click("#theme")
            papers[scheme, "switched"] = seen.computed("body", "backgroundColor")
            seen.page.reload()
            assert seen.computed("body", "backgroundColor") == papers[scheme, "switched"]
    assert papers["light"] == papers["dark", "switched"]
    assert papers["dark"] == papers["light", "switched"]
    assert papers["light"] != papers["dark"]
    assert papers["light", "mark"] != papers["dark", "mark"]


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, page: Path):
    with visit(browser, page, size=PHONE) as seen:
        for name in seen.sections():
            for folded in seen.page.query_selector_all(f"#{name} details:not([open]) summary"):
                folded.click()
            assert seen.width() == PHONE["width"], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, page: Path, scheme: str):
    with visit(browser, page, scheme=scheme) as seen:
        seen.show_all()
        assert seen.findings() == []
