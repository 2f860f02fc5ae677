"""A user's copy of a dataset on the disk: listed and read without ever leaving it, with everything odd written down."""

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
"""What ``reference-models synth`` leaves in a folder of faces that it made in the layout of a dataset."""
_LEFTOVERS = frozenset({"thumbs.db", "desktop.ini"})


class DataError(ValueError):
    """A dataset, or a file about one, is not what it must be; the message names the path."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something missing or odd.

    Attributes:
        level: ``error`` if frames or labels are lost by it, ``note`` if it is known, harmless or repaired.
        path: Where, relative to the root.
        text: What.
    """

    level: Literal["error", "note"]
    path: str
    text: str


def inside(root: Path, relative: str) -> Path:
    """Return ``root / relative`` for a path that stays inside.

    Links that the user made inside his own copy are his business; a path that comes out of a file is not.

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
    """Return the key that sorts ``frame-9`` before ``frame-10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def ranges(numbers: Iterable[int], *, most: int = 8) -> str:
    """Return whole numbers as ``1-3, 7``, with the count of what is left out after ``most`` of them."""
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
    """The folder of a dataset, and what was found odd in it while it was read.

    Nothing is walked recursively: readers ask for the folders that the layout has, so that a link which points to one
    of its own parents is at worst listed once.

    Args:
        root: The folder.

    Raises:
        DataError: If it is no folder, or may not be listed.
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
        """Write down something by which frames or labels are lost."""
        self.findings.append(Finding("error", path, text))

    def note(self, path: str, text: str) -> None:
        """Write down something known, harmless or repaired."""
        self.findings.append(Finding("note", path, text))

    @property
    def synthetic(self) -> bool:
        """Whether the faces were made by this package: as many as somebody asked for, not as many as were published."""
        return self.has_file(SYNTHETIC)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in ``folder``, in natural order; none if it does not exist."""
        return [name for name, is_folder in self._entries(folder).items() if is_folder]

    def files(self, folder: str, suffixes: Iterable[str]) -> list[str]:
        """Return the names of the files in ``folder`` that end so (in any case), in natural order."""
        wanted = frozenset(suffixes)
        return [
            name
            for name, is_folder in self._entries(folder).items()
            if not is_folder and PurePosixPath(name).suffix.lower() in wanted
        ]

    def has_folder(self, path: str) -> bool:
        """Return whether there is such a folder."""
        return inside(self.root, path).is_dir()

    def has_file(self, path: str) -> bool:
        """Return whether there is such a file; its folder is listed once, not the disk asked for each file."""
        folder, _, name = path.rpartition("/")
        return self._entries(folder or ".").get(name) is False

    def first_folder(self, candidates: Sequence[str], what: str) -> str | None:
        """Return the first of these folders that exists, or write down that ``what`` is missing."""
        for candidate in candidates:
            if self.has_folder(candidate):
                return candidate
        self.error(candidates[0], f"there is no folder with {what}")
        return None

    def lines(self, path: str) -> list[tuple[int, str]] | None:
        """Return number and text of each line of a text file that is not empty, without blanks around it.

        None, with the reason written down, if it is missing, larger than 256 MiB, or no text.
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
        """Return name -> is it a folder, in natural order."""
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        return self._listed[folder]

    def _list(self, folder: str) -> dict[str, bool]:
        path = self.root if folder == "." else inside(self.root, folder)
        found: dict[str, bool] = {}
        try:
            for entry in path.iterdir():
                if entry.name.startswith(".") or entry.name.lower() in _LEFTOVERS:
                    continue
                if entry.is_dir():
                    found[entry.name] = True
                elif entry.is_file():
                    found[entry.name] = False
                else:
                    self.error(f"{folder}/{entry.name}", "is neither file nor folder: a link that leads nowhere")
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.error(folder, f"cannot be listed: {error.strerror}")
        return {name: found[name] for name in sorted(found, key=natural)}


def counted(findings: Iterable[Finding]) -> Counter[str]:
    """Return how many findings there are of each level."""
    return Counter(finding.level for finding in findings)
