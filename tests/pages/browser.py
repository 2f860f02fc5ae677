"""A real Chromium, offline, that remembers what a page says and asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium of this machine, or playwright's own; skip where there is neither."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), None) or (own if Path(own).is_file() else None)
        if found is None:
            pytest.skip(f"this machine has no Chromium: none of {', '.join(NAMES)}, nor playwright's own")
        browser = playwright.chromium.launch(executable_path=found, args=["--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page that is open, with all it has said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def computed(self, selector: str, name: str) -> str:
        """Return a computed style."""
        return self.page.eval_on_selector(selector, "(element, name) => getComputedStyle(element)[name]", name)

    def sections(self) -> Iterator[str]:
        """Open one section after the other by its tab, and yield its name."""
        for name in self.page.eval_on_selector_all("main > section", "all => all.map(each => each.id)"):
            self.page.click(f"#tab-{name}")
            yield name

    def show_all(self) -> None:
        """Show all sections at once, as they are without the script."""
        self.page.eval_on_selector_all("main > section", "all => all.forEach(each => { each.hidden = false; })")

    def width(self) -> int:
        """Return how wide the page is that can be scrolled to."""
        return self.page.evaluate("document.documentElement.scrollWidth")

    def findings(self) -> list[str]:
        """Return what axe finds serious or critical in what is shown now."""
        options = {"resultTypes": ["violations"]}
        found = Axe().run(self.page, options=options).response["violations"]
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]


@contextmanager
def visit(browser: Browser, path: Path, *, scheme: str = "light", size: dict[str, int] = DESK) -> Iterator[Visit]:
    """Open a page; at the end nothing may have been said on the console, and nothing asked for but the page itself."""
    context = browser.new_context(color_scheme=scheme, viewport=size, offline=True, reduced_motion="reduce")
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        seen = Visit(page)
        page.on("console", lambda message: seen.said.append(message.text))
        page.on("pageerror", lambda error: seen.said.append(str(error)))
        page.on("request", lambda request: seen.asked.append(request.url))
        page.goto(path.as_uri())
        yield seen
        assert seen.said == []
        assert {url.partition("#")[0] for url in seen.asked if not url.startswith("data:")} == {path.as_uri()}
    finally:
        context.close()
