"""The table's rows: a capability is a check that raises if a subject has it not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[..., None]


@dataclass(frozen=True)
class Capability:
    """One row.

    Attributes:
        name: What it is called.
        check: Called with a subject; with ``backend`` too if ``compiles``.
        slow: Whether the normal test run tries it on layers only.
        compiles: Whether it goes through ``torch.compile``.
    """

    name: str
    check: Check
    slow: bool = False
    compiles: bool = False


CAPABILITIES: dict[str, Capability] = {}
"""All rows whose check takes one subject, by name, in the order of the table."""
EXCEPTIONS = {"infinity stays visible"}
"""Rows that a layer's registry entry may except, beside the checks of the contract."""


def capability(name: str, *, slow: bool = False, compiles: bool = False) -> Callable[[Check], Check]:
    """Put the decorated check into the table."""

    def decorate(check: Check) -> Check:
        CAPABILITIES[name] = Capability(name, check, slow, compiles)
        return check

    return decorate


def reason(error: BaseException) -> str:
    """Return the first line that says something of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'without a message'}"
