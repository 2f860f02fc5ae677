"""Renders synthetic faces into a folder: on all cores, resumable, with atomically written files."""

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
    """The result of :func:`write`.

    Attributes:
        root: The folder.
        rendered: Number of pictures rendered by this call.
        kept: Number of pictures that existed already.
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
    """Render faces into a folder, in the layout of a dataset.

    The same arguments give the same pixels on every machine and with any number of workers; with the same version of
    Pillow the files are identical. An incomplete folder is completed.

    Args:
        root: A folder that is new, empty, or was begun with the same arguments.
        layout: One of :data:`~reference_models.data.synthetic.LAYOUTS`.
        identities: Number of persons.
        frames: Number of frames or sessions of each person; see :func:`~reference_models.data.synthetic.plan`.
        size: Side of the pictures in pixels; that of the layout by default.
        style: One of :func:`~reference_models.data.synthetic.list_styles`.
        seed: Seed of everything that is drawn.
        workers: Number of processes; as many as there are cores by default.
        report: Is called with the number of finished pictures and the total.

    Raises:
        DataError: If the folder holds other files, or faces with other arguments.
        OSError: If a file cannot be written; files written before are kept.
        TypeError: If a number is not an int.
        ValueError: If an argument is out of range, or a name is unknown.
    """
    root, chosen = Path(root), writing(layout)
    size = positive_int("size", chosen.size if size is None else size)
    workers = positive_int("workers", cores() if workers is None else workers)
    shots = plan(chosen.kind, identities=identities, frames=frames, seed=seed, style_name=style)
    if identities > chosen.most:
        raise ValueError(f"identities must be at most {chosen.most:,} in the layout {chosen.name}, got {identities:,}")
    arguments: dict[str, str | int] = {
        "layout": chosen.name,
        "identities": identities,
        "frames": frames,
        "size": size,
        "style": style,
        "seed": seed,
    }
    _begin(root, {"format": FORMAT, **arguments, "levels": "parameters of a generator, no coder's scores"})
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
    """Return the person in each picture of a folder written by :func:`write`: path in the folder to ``Shot.subject``.

    Raises:
        DataError: If the folder's ``synthetic.json`` is missing or damaged.
    """
    try:
        plain = json.loads((root / SYNTHETIC).read_text())
        if plain["format"] != FORMAT:
            raise ValueError(f"format {plain['format']!r}")
        chosen, frames = writing(plain["layout"]), plain["frames"]
        shots = plan(
            chosen.kind, identities=plain["identities"], frames=frames, seed=plain["seed"], style_name=plain["style"]
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{root / SYNTHETIC} must be as 'reference-models synth' writes it: {error}") from error
    return {chosen.image(shot, frames): shot.subject for shot in shots}


def encode(picture: Picture, path: str) -> bytes:
    """Return the content of a picture's file, PNG or JPEG by the suffix of ``path``."""
    file = io.BytesIO()
    image = Image.fromarray(picture.image)
    if PurePosixPath(path).suffix == ".png":
        image.save(file, "PNG", compress_level=4)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _begin(root: Path, manifest: dict[str, str | int]) -> None:
    """Write the manifest into a new or empty folder; raise DataError if the folder has another one or other files."""
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
    """Return whether the shot's picture and landmarks exist; the landmarks are written last."""
    return (root / layout.landmarks(shot, frames)).is_file() and (root / layout.image(shot, frames)).is_file()


def _render(root: Path, layout: Writing, shots: Sequence[Shot], frames: int, size: int, workers: int) -> Iterator[int]:
    """Render the shots person by person; yield the number of pictures of each finished person."""
    persons: dict[int, list[Shot]] = {}
    for shot in shots:
        persons.setdefault(shot.identity, []).append(shot)
    work = partial(_render_person, root, layout.name, frames=frames, size=size)
    groups = list(persons.values())
    if workers == 1 or len(groups) <= 1:
        yield from map(work, groups)
        return
    yield work(groups[0])  # fills numba's cache for the other processes
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
