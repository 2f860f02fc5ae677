"""Read the docstrings' reStructuredText the way the pages are written: a griffe extension, named in mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Turn ``Example:`` into the section that griffe knows, and roles such as ``:class:`x``` into code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring before it is parsed."""
        if obj.docstring:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", text)
