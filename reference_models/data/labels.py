"""The labels of a network's outputs: action units or expressions, in order.

If the order is not stored, a checkpoint can be read in the wrong order without an error. Here the order is a value: a
dataset is built with it, a checkpoint stores it, and loading compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The seven basic expressions in the order of LLA-Net's tables."""
KNOWN_EXPRESSIONS = frozenset({*EXPRESSIONS, "contempt"})

Task = Literal["action units", "expressions"]


@dataclass(frozen=True)
class Labels:
    """The label of each output of a network, in order.

    Attributes:
        task: ``action units`` (multi-label: each is present or absent) or ``expressions`` (one class per face).
        names: ``AU1``, ``AU2``, .. or names of expressions, all different.
    """

    task: Task
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.task not in {"action units", "expressions"}:
            raise ValueError(f"task must be 'action units' or 'expressions', got {self.task!r}")
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must hold at least one name and none twice, got {self.names}")
        if self.task == "action units":
            wrong = [name for name in self.names if not (name[:2] == "AU" and name[2:].isdecimal())]
        else:
            wrong = [name for name in self.names if name not in KNOWN_EXPRESSIONS]
        if wrong:
            allowed = "AU and a number" if self.task == "action units" else ", ".join(sorted(KNOWN_EXPRESSIONS))
            raise ValueError(f"names of {self.task} must be {allowed}, got {wrong}")

    @classmethod
    def of_units(cls, units: Iterable[int]) -> Labels:
        """Return the labels of action units from their numbers."""
        return cls("action units", tuple(f"AU{unit}" for unit in units))

    @classmethod
    def of_expressions(cls, names: Iterable[str] = EXPRESSIONS) -> Labels:
        """Return the labels of expressions from their names."""
        return cls("expressions", tuple(names))

    @property
    def units(self) -> tuple[int, ...]:
        """Numbers of the action units.

        Raises:
            ValueError: If the labels are expressions.
        """
        if self.task != "action units":
            raise ValueError(f"labels must be those of action units, got {self}")
        return tuple(int(name[2:]) for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return f"{self.task} {', '.join(self.names)}"

    def as_json(self) -> str:
        """Return the labels as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Labels:
        """Return the labels from the text of :meth:`as_json`.

        Raises:
            ValueError: If the text is not JSON of that form.
        """
        record: Any = json.loads(text)
        if not isinstance(record, dict) or set(record) != {"task", "names"} or not isinstance(record["names"], list):
            raise ValueError(f"labels must be an object with task and names, got {text[:80]!r}")
        if not all(isinstance(text, str) for text in (record["task"], *record["names"])):
            raise ValueError(f"task and names must be texts, got {record['task']!r} and {record['names']}")
        return cls(record["task"], tuple(record["names"]))
