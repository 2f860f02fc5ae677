"""Access to a user's copy of a dataset: lists and reads files inside its folder only, and collects findings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

MAX_TEXT_BYTES = 256 * 1024**2
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
SYNTHETIC = "synthetic.json"
"""Name of the file that ``reference-models synth`` writes into a folder of synthetic faces."""
_LEFTOVERS = frozenset({"thumbs.db", "desktop.ini"})


class DataError(ValueError):
    """A dataset or one of its files is missing, damaged or inconsistent; the message names the path."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A missing, damaged or unexpected file or label.

    Attributes:
        level: ``error`` if it makes frames or labels unusable, ``note`` if it is harmless or was corrected.
        path: Path relative to the root.
        text: Description of the finding.
    """

    level: Literal["error", "note"]
    path: str
    text: str


def inside(root: Path, relative: str) -> Path:
    """Return ``root / relative`` for a path that stays inside ``root``.

    Links inside the user's copy may lead anywhere; only the path itself, which comes from a file, is checked.

    Raises:
        DataError: If it is empty or absolute, or has a drive, a backslash, a NUL or a part ``..``.
    """
    path = PurePosixPath(relative)
    windows = PureWindowsPath(relative)
    outside = path.is_absolute() or windows.drive or windows.root or ".." in path.parts
    if not relative or outside or "\\" in relative or "\0" in relative:
        raise DataError(f"a path must be relative to the root and stay inside it, got {relative!r}")
    return root / path


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key for natural order, which puts ``frame-9`` before ``frame-10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def ranges(numbers: Iterable[int], *, most: int = 8) -> str:
    """Return whole numbers as text such as ``1-3, 7``: at most ``most`` ranges, then the number of further ones."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:most]]
    hidden = len(runs) - most
    return ", ".join(shown) + (f" and {hidden} more" if hidden > 0 else "")


class Tree:
    """The folder of a dataset, with the findings made while reading it.

    Folders are not walked recursively: readers list only folders of the layout, so a link to a parent folder cannot
    cause an endless loop.

    Args:
        root: Path of the folder.

    Raises:
        DataError: If it is not a folder, or cannot be listed.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.findings: list[Finding] = []
        self._listed: dict[str, dict[str, bool]] = {}
        try:
            next(self.root.iterdir(), None)
        except OSError as error:
            raise DataError(f"root must be a folder that can be listed, got {self.root}: {error.strerror}") from error

    def error(self, path: str, text: str) -> None:
        """Add an error: a finding that makes frames or labels unusable."""
        self.findings.append(Finding("error", path, text))

    def note(self, path: str, text: str) -> None:
        """Add a note: a finding that is harmless or was corrected."""
        self.findings.append(Finding("note", path, text))

    @property
    def synthetic(self) -> bool:
        """Whether the folder holds synthetic faces of this package, in any number instead of the published one."""
        return self.has_file(SYNTHETIC)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in ``folder``, in natural order; none if it does not exist."""
        return [name for name, is_folder in self._entries(folder).items() if is_folder]

    def files(self, folder: str, suffixes: Iterable[str]) -> list[str]:
        """Return the names of the files in ``folder`` with one of the suffixes, in natural order, ignoring case."""
        wanted = frozenset(suffixes)
        return [
            name
            for name, is_folder in self._entries(folder).items()
            if not is_folder and PurePosixPath(name).suffix.lower() in wanted
        ]

    def has_folder(self, path: str) -> bool:
        """Return whether the folder exists."""
        return inside(self.root, path).is_dir()

    def has_file(self, path: str) -> bool:
        """Return whether the file exists, from a cached listing of its folder."""
        folder, _, name = path.rpartition("/")
        return self._entries(folder or ".").get(name) is False

    def first_folder(self, candidates: Sequence[str], what: str) -> str | None:
        """Return the first of the folders that exists; if none does, add an error that ``what`` is missing."""
        for candidate in candidates:
            if self.has_folder(candidate):
                return candidate
        self.error(candidates[0], f"there is no folder with {what}")
        return None

    def lines(self, path: str) -> list[tuple[int, str]] | None:
        """Return number and stripped text of each non-empty line of a text file.

        If the file is missing, larger than 256 MiB, or not UTF-8, add an error and return None.
        """
        try:
            with inside(self.root, path).open("rb") as file:
                content = file.read(MAX_TEXT_BYTES + 1)
        except OSError as error:
            self.error(path, f"cannot be read: {error.strerror}")
            return None
        if len(content) > MAX_TEXT_BYTES:
            self.error(path, f"is larger than the {MAX_TEXT_BYTES:,} bytes that are read")
            return None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.error(path, "is no text in UTF-8")
            return None
        lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
        return [(number, line) for number, line in lines if line]

    def _entries(self, folder: str) -> dict[str, bool]:
        """Return name -> True for folders and False for files, in natural order."""
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        return self._listed[folder]

    def _list(self, folder: str) -> dict[str, bool]:
        path = self.root if folder == "." else inside(self.root, folder)
        entries: dict[str, bool] = {}
        try:
            for entry in path.iterdir():
                if entry.name.startswith(".") or entry.name.lower() in _LEFTOVERS:
                    continue
                if entry.is_dir():
                    entries[entry.name] = True
                elif entry.is_file():
                    entries[entry.name] = False
                else:
                    self.error(f"{folder}/{entry.name}", "is neither file nor folder: a link that leads nowhere")
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.error(folder, f"cannot be listed: {error.strerror}")
        return {name: entries[name] for name in sorted(entries, key=natural)}


def counted(findings: Iterable[Finding]) -> Counter[str]:
    """Return the number of findings of each level."""
    return Counter(finding.level for finding in findings)
