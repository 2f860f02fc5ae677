"""From templates to one file."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from types import ModuleType
from typing import Any


def render(template: str, **context: Any) -> str:
    """Return the page that a template of this package makes of ``context``.

    Everything is escaped but what the templates say themselves. The policy in its head allows its own style, its own
    script by its hash and pictures that are in it, and nothing else: no request can leave the page.

    Args:
        template: Name of a file in ``templates``.
        **context: What it shows; a name that the template uses and the context lacks is an error.

    Raises:
        ImportError: If jinja2 is not installed.
    """
    jinja2, markupsafe = _needed()
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


def _needed() -> tuple[ModuleType, ModuleType]:
    try:
        import jinja2
        import markupsafe
    except ModuleNotFoundError as error:
        raise ImportError('pages need jinja2: pip install "attnzoo[report]"') from error
    return jinja2, markupsafe
