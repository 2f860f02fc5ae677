"""The output folder of a preparation: result files, a journal while work is unfinished, and a manifest at the end.

    faces/NAME.png      the aligned face
    levels/NAME.png     grey difference to the neutral frame inside the face, from which the maps are computed
    points/NAME.json    box, landmarks, transform, centre row
    manifest.json       options and versions, and for each photograph its files with their hashes, or the failure
    journal.jsonl       only while work is unfinished: one line for each finished photograph

NAME is the photograph's path under the root. Files are written atomically, and their content does not depend on the
time or on the order of the work.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from attnzoo.files import OutputError
from reference_models.faces.face import Outcome
from reference_models.preparation.items import PreparationError

MANIFEST, JOURNAL, UNFINISHED = "manifest.json", "journal.jsonl", ".unfinished"
KINDS = ("faces", "levels", "points")


@dataclass(frozen=True)
class Entry:
    """The manifest's entry of one photograph.

    Attributes:
        cache: Hash of options and inputs; see :func:`~reference_models.preparation.preparation.fingerprint`.
        outcome: Which face was taken, or why none.
        files: Path of each written file under the output folder to its SHA-256.
    """

    cache: str
    outcome: Outcome
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The contents of an output folder.

    Attributes:
        identity: Format, preparation, search and versions; see
            :func:`~reference_models.preparation.preparation.identity`.
        entries: Name of each finished photograph to its entry.
        failures: Path of each failed photograph to the reason.
        complete: Whether the preparation was finished.
    """

    identity: Mapping[str, Any]
    entries: Mapping[str, Entry]
    failures: Mapping[str, str]
    complete: bool


def inside(root: Path, name: str) -> Path:
    """Return ``root / name``.

    Raises:
        PreparationError: If ``name`` is absolute, contains ``..``, or leads out of the folder through a link.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in name or "\0" in name:
        raise PreparationError(f"{name!r} is no path under {root}")
    path = root / parts
    if not path.resolve().is_relative_to(root.resolve()):
        raise PreparationError(f"{name!r} leads out of {root}")
    return path


def load_manifest(out: Path) -> Manifest | None:
    """Read the manifest and the journal of a folder; return None if it holds no preparation.

    An incomplete last line of the journal, left by a killed process, is ignored.

    Raises:
        PreparationError: If manifest or journal is damaged, or names a path outside the folder.
    """
    finished, journal = out / MANIFEST, out / JOURNAL
    identity: Mapping[str, Any] | None = None
    entries: dict[str, Entry] = {}
    failures: Mapping[str, str] = {}
    try:
        if finished.exists():
            content = json.loads(finished.read_bytes())
            identity, failures = dict(content["identity"]), dict(content["failures"])
            entries = {name: _entry(out, name, fields) for name, fields in content["entries"].items()}
        if journal.exists():
            for line in journal.read_bytes().split(b"\n")[:-1]:
                record = json.loads(line)
                if "identity" in record:
                    identity = dict(record["identity"])
                else:
                    entries[record["name"]] = _entry(out, record["name"], record["entry"])
    except PreparationError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise PreparationError(f"{out} holds a damaged manifest or journal: {error!r}") from error
    except OSError as error:
        raise PreparationError(f"{out} cannot be read: {error.strerror}") from error
    return None if identity is None else Manifest(identity, entries, failures, not journal.exists())


def write_result(out: Path, name: str, data: bytes) -> str:
    """Write one result file atomically and return its SHA-256.

    Raises:
        PreparationError: If its name is too long or leads out of the folder.
        OutputError: If the file cannot be written.
    """
    path = inside(out, name)
    unfinished = out / UNFINISHED / f"{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PreparationError("its name is too long for a result") from error
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return hashlib.sha256(data).hexdigest()


def is_intact(out: Path, entry: Entry) -> bool:
    """Return whether all files of an entry exist with the recorded hashes."""
    for name, expected in entry.files.items():
        try:
            with (out / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    return False
        except OSError:
            return False
    return True


class Store:
    """Writes the results of a preparation into an output folder.

    Args:
        out: The folder; it is created if it does not exist.
        identity: Everything that determines the results besides the photographs.
        redo: Whether to replace results made with other options.

    Raises:
        PreparationError: If the folder holds other files, or results made with other options and ``redo`` is False.
        OutputError: If the folder cannot be written.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, redo: bool = False) -> None:
        self.out = out
        self.identity = identity
        before = load_manifest(out)
        if before is None and out.exists() and not _is_free(out):
            raise PreparationError(f"{out} is not empty and holds no preparation; give a new folder")
        if before is not None and before.identity != identity and not redo:
            raise PreparationError(
                f"{out} was prepared in another way ({', '.join(changes(before.identity, identity))}); give another"
                " folder, or --redo to replace it"
            )
        self.before = before.entries if before else {}
        self.entries: dict[str, Entry] = {}
        self._journal = self._open()

    def keep(self, name: str, entry: Entry) -> None:
        """Record a finished photograph, and remove files of its earlier result that the new one lacks."""
        self.entries[name] = entry
        earlier = self.before.get(name)
        if earlier != entry:
            self._append({"name": name, "entry": asdict(entry)})
            self._remove(set(earlier.files if earlier else ()) - set(entry.files))

    def finish(self, failures: Mapping[str, str]) -> Manifest:
        """Write the manifest, remove results of photographs that no longer exist, and delete the journal."""
        for name in set(self.before) - set(self.entries):
            self._remove(set(self.before[name].files))
        manifest = Manifest(self.identity, dict(sorted(self.entries.items())), dict(sorted(failures.items())), True)
        content = {
            "identity": self.identity,
            "entries": {name: asdict(entry) for name, entry in manifest.entries.items()},
            "failures": manifest.failures,
        }
        write_result(self.out, MANIFEST, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
        self.close()
        (self.out / JOURNAL).unlink()
        shutil.rmtree(self.out / UNFINISHED)
        return manifest

    def close(self) -> None:
        """Close the journal's file; it stays for the next run if the work is unfinished."""
        self._journal.close()

    def _open(self) -> IO[bytes]:
        """Write the journal atomically with the entries of earlier runs, and open it for appending."""
        lines: list[dict[str, Any]] = [{"identity": self.identity}]
        lines += [{"name": name, "entry": asdict(entry)} for name, entry in self.before.items()]
        try:
            (self.out / UNFINISHED).mkdir(parents=True, exist_ok=True)
            write_result(self.out, JOURNAL, b"".join(_line(line) for line in lines))
            return (self.out / JOURNAL).open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"{self.out} cannot be written: {error.strerror}") from error

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            self._journal.write(_line(record))
        except OSError as error:
            raise OutputError(f"{self.out / JOURNAL} cannot be written: {error.strerror}") from error

    def _remove(self, names: set[str]) -> None:
        for name in names:
            inside(self.out, name).unlink(missing_ok=True)


def _is_free(out: Path) -> bool:
    return out.is_dir() and all(path.name == UNFINISHED for path in out.iterdir())


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True).encode() + b"\n"


def _entry(out: Path, name: str, fields: Mapping[str, Any]) -> Entry:
    entry = Entry(str(fields["cache"]), fields["outcome"], dict(fields["files"]))
    allowed = {f"{kind}/{name}{ending}" for kind in KINDS for ending in (".png", ".json")}
    for file in entry.files:
        inside(out, file)
        if file not in allowed:
            raise PreparationError(f"{out} holds a manifest in which {name!r} has the file {file!r}")
    return entry


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between two identities as texts for a message."""
    differences = []
    for part in sorted({*before, *now}):
        old, new = before.get(part), now.get(part)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            differences += changes(old, new)
        elif old != new:
            differences.append(f"{part}: {old} there, {new} here")
    return differences
