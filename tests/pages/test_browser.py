"""The browser's checks themselves: on a page with every fault they fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.pages.browser import PHONE, visit
from tests.pages.parsed import check

GOOD = '<!DOCTYPE html><html lang="en"><head><title>t</title></head><body><main><h1>t</h1>{}</main></body></html>'


@pytest.fixture
def written(tmp_path: Path):
    def write(body: str) -> Path:
        path = tmp_path / "page.html"
        path.write_text(GOOD.format(body))
        return path

    return write


@pytest.mark.parametrize(
    "body",
    [
        '<script>console.log("said")</script>',
        "<script>missing()</script>",
        '<img src="http://127.0.0.1:9/x.png" alt="x">',
    ],
)
def test_what_a_page_says_or_asks_for_is_noticed(browser: Browser, written, body: str):
    with pytest.raises(AssertionError), visit(browser, written(body)) as seen:
        seen.page.wait_for_load_state()


def test_faults_are_found(browser: Browser, written):
    with visit(browser, written('<img src="data:,"><p style="color:#eee">faint</p>'), size=PHONE) as seen:
        assert {each.partition(":")[0] for each in seen.findings()} == {"image-alt", "color-contrast"}
        assert seen.width() == PHONE["width"]
    with visit(browser, written('<div style="width:50rem">wide</div>'), size=PHONE) as seen:
        assert seen.width() > 800


@pytest.mark.parametrize(
    "body",
    [
        '<p id="a"></p><p id="a"></p>',
        '<a href="https://example.org">out</a>',
        '<a href="#nowhere">in</a>',
        '<p aria-labelledby="nobody"></p>',
        "<input>",
        "<label> <select></select></label>",
        "<button></button>",
        '<img src="data:,">',
        '<p style="background: url(x.png)"></p>',
        "<style>@import 'x.css'</style>",
    ],
)
def test_faults_are_found_without_a_browser_too(body: str):
    check(GOOD.format("<p>nothing wrong</p>"))
    with pytest.raises(AssertionError):
        check(GOOD.format(body))
