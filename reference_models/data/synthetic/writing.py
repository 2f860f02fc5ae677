"""Synthetic faces rendered to a folder: by all cores, resumable, each file whole or not there at all."""

from __future__ import annotations

import io
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from attnzoo.files import write_atomically
from reference_models import interrupts
from reference_models.checks import positive_int
from reference_models.data.synthetic.layouts import Writing, writing
from reference_models.data.synthetic.render import Picture
from reference_models.data.synthetic.shots import Shot, plan
from reference_models.data.tree import SYNTHETIC, DataError
from reference_models.processors import cores

FORMAT = "reference-models synth 1"
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Written:
    """What was done.

    Attributes:
        root: The folder.
        rendered: Number of pictures that were rendered now.
        kept: Number of pictures that were there already.
    """

    root: Path
    rendered: int
    kept: int


def write(
    root: str | Path,
    layout: str,
    *,
    identities: int = 250,
    frames: int = 8,
    size: int | None = None,
    style: str = "studio",
    seed: int = 0,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Written:
    """Render faces to a folder in the layout of a dataset.

    The same arguments give the same pixels, whatever the number of workers and wherever it runs; files are the same to
    the byte with the same version of Pillow. A folder that was begun is completed.

    Args:
        root: A folder that is new, empty, or was begun with the same arguments.
        layout: One of :data:`~reference_models.data.synthetic.LAYOUTS`.
        identities: Number of persons.
        frames: Number of expressive frames, of frames of a sequence, or of portraits of each; see
            :func:`~reference_models.data.synthetic.plan`.
        size: Side of the pictures in pixels; that of the layout by default.
        style: One of :func:`~reference_models.data.synthetic.list_styles`.
        seed: What everything is drawn from.
        workers: Number of processes; as many as there are cores by default.
        report: Is told how many pictures are done, and of how many.

    Raises:
        DataError: If the folder holds anything else.
        OSError: If a file cannot be written; what was written before is whole and is kept.
        TypeError: If a number is no int.
        ValueError: If an argument is out of range, or a name unknown.
    """
    root, chosen = Path(root), writing(layout)
    size = positive_int("size", chosen.size if size is None else size)
    workers = positive_int("workers", cores() if workers is None else workers)
    shots = plan(chosen.kind, identities=identities, frames=frames, seed=seed, style_name=style)
    if identities > chosen.most:
        raise ValueError(f"identities must be at most {chosen.most:,} in the layout {chosen.name}, got {identities:,}")
    made_of: dict[str, str | int] = {
        "layout": chosen.name,
        "identities": identities,
        "frames": frames,
        "size": size,
        "style": style,
        "seed": seed,
    }
    _begin(root, {"format": FORMAT, **made_of, "levels": "parameters of a generator, no coder's scores"})
    missing = [shot for shot in shots if not _is_there(root, chosen, shot, frames)]
    kept = len(shots) - len(missing)
    done = kept
    for count in _render(root, chosen, missing, frames, size, workers):
        done += count
        if report is not None:
            report(done, len(shots))
    for path, text in chosen.labels(shots, frames).items():
        _write(root, path, text.encode("ascii"))
    return Written(root, len(missing), kept)


def shown(root: Path) -> dict[str, str]:
    """Return whom each picture shows of a folder that :func:`write` has made: its path in it to a shot's subject.

    Raises:
        DataError: If the folder does not say what it was made of.
    """
    try:
        said = json.loads((root / SYNTHETIC).read_text())
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']!r}")
        chosen, frames = writing(said["layout"]), said["frames"]
        shots = plan(
            chosen.kind, identities=said["identities"], frames=frames, seed=said["seed"], style_name=said["style"]
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{root / SYNTHETIC} must be as 'reference-models synth' writes it: {error}") from error
    return {chosen.image(shot, frames): shot.subject for shot in shots}


def encode(picture: Picture, path: str) -> bytes:
    """Return the file of a picture, PNG or JPEG by the ending of ``path``."""
    file = io.BytesIO()
    image = Image.fromarray(picture.image)
    if PurePosixPath(path).suffix == ".png":
        image.save(file, "PNG", compress_level=4)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _begin(root: Path, manifest: dict[str, str | int]) -> None:
    """Leave the manifest in the folder, or find that it is the same."""
    path = root / SYNTHETIC
    text = (json.dumps(manifest, indent=1) + "\n").encode()
    if path.is_file():
        if path.read_bytes() != text:
            raise DataError(f"{root} holds other faces, see {path}: choose another folder, or the same options")
        return
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise DataError(f"{root} is not empty and was not made by this command: choose another folder")
    write_atomically(path, text)


def _is_there(root: Path, layout: Writing, shot: Shot, frames: int) -> bool:
    """Return whether the shot's files are there; the landmarks are written last."""
    return (root / layout.landmarks(shot, frames)).is_file() and (root / layout.image(shot, frames)).is_file()


def _render(root: Path, layout: Writing, shots: Sequence[Shot], frames: int, size: int, workers: int) -> Iterator[int]:
    """Render the shots, yielding the number that has been done, a person at a time."""
    persons: dict[int, list[Shot]] = {}
    for shot in shots:
        persons.setdefault(shot.identity, []).append(shot)
    work = partial(_render_person, root, layout.name, frames=frames, size=size)
    groups = list(persons.values())
    if workers == 1 or len(groups) <= 1:
        yield from map(work, groups)
        return
    yield work(groups[0])  # compiles what the other processes then find compiled
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=interrupts.ignore) as pool:
        futures = [pool.submit(work, group) for group in groups[1:]]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _render_person(root: Path, layout_name: str, shots: Sequence[Shot], *, frames: int, size: int) -> int:
    layout = writing(layout_name)
    for shot in shots:
        picture = shot.take(size)
        path = layout.image(shot, frames)
        _write(root, path, encode(picture, path))
        points = "".join(f"{x:.4f} {y:.4f}\n" for x, y in picture.landmarks)
        _write(root, layout.landmarks(shot, frames), points.encode("ascii"))
    return len(shots)


def _write(root: Path, relative: str, content: bytes) -> None:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
