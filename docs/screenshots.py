"""Take the pictures of the pages in this documentation, by a Chromium of this machine.

    python docs/screenshots.py PHOTOGRAPH

Needs the extras ``report`` and ``test``, and a Chromium as ``chromium`` on the path.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).with_name("images")
SIZE = {"width": 1200, "height": 760}
COLORS = 128


def take(page: Page, source: Path, section: str, target: Path) -> None:
    """Write one section of a page as a small PNG."""
    page.goto(f"{source.as_uri()}#{section}")
    page.evaluate("scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(target, optimize=True)


def main(photograph: str) -> None:
    """Make both pages as a user would, and take their pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report, look = (Path(folder) / name for name in ("report.html", "look.html"))
        subprocess.run([sys.executable, "-m", "benchmarks.report", "-o", report], check=True)  # noqa: S603 - our own command
        looked = ["attnzoo", "look", photograph, "resnet18", "cbam", "--page", look, "-o", look.with_suffix(".png")]
        subprocess.run(looked, check=True)  # noqa: S603 - the same
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=SIZE)
        take(page, report, "layers", IMAGES / "report.png")
        take(page, look, "gates", IMAGES / "look-page.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
