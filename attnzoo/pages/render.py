"""Render a page from templates to one HTML file."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from attnzoo.extras import load


def render(template: str, **context: Any) -> str:
    """Return the HTML of a template of this package, rendered with ``context``.

    All values are escaped. The page's content security policy allows inline style, the page's script by its hash and
    embedded pictures, and nothing else, so that the page cannot send requests.

    Args:
        template: Name of a file in ``templates``.
        **context: The template's variables; a missing one is an error.

    Raises:
        ImportError: If jinja2 is not installed.
    """
    jinja2, markupsafe = (load(name, extra="report", what="pages") for name in ("jinja2", "markupsafe"))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("attnzoo.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = resources.files("attnzoo.pages") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page: str = environment.get_template(template).render(
        **context, style=markupsafe.Markup(style), script=markupsafe.Markup(script), digest=digest
    )
    return page
