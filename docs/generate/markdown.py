"""What all parts are written with: Markdown tables, values, docstrings, and where a result was made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def made(result: Mapping[str, Any]) -> str:
    """Return where a result was made: command, commit, machine with the environment that was measured in, versions."""
    made = ", ".join(f"{key} {_condition(value)}" for key, value in {**result["machine"], **result["versions"]}.items())
    return f"`{result['command'].strip()}`, commit {result['commit']}; {made}."


def made_on(result: Mapping[str, Any]) -> str:
    """Return the command that made a result, the commit and the day."""
    return f"`{result['command'].strip()}`, commit {result['commit'][:10]}, {result['date'][:10]}"


def _condition(value: Any) -> str:
    """Return one of the conditions; variables of an environment as a shell sets them."""
    if not isinstance(value, Mapping):
        return str(value)
    parts = (f"{k} ({_condition(v)})" if isinstance(v, Mapping) else f"{k}={v}" for k, v in value.items())
    return " ".join(parts) or "none"


def shown(value: Any) -> str:
    """Return an argument's value as one would write it."""
    if isinstance(value, float) and 0 < value < 1 and (1 / value).is_integer():
        return f"1 / {round(1 / value)}"
    if isinstance(value, Mapping):
        return repr(dict(value))
    return value.__name__ if isinstance(value, type) else repr(value)


def number(value: Any) -> str:
    """Return a cell of a table of results."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(number, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def differences(module: Any) -> str:
    """Return what the docstring of a module says of differences from its paper."""
    text = inspect.cleandoc(module.__doc__)
    (found,) = re.findall(r"^Differences from the paper: (.*?)(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return markdown(found[0].upper() + found[1:])


def markdown(text: str) -> str:
    """Return reStructuredText as used in the docstrings, as Markdown on one line."""
    text = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())
