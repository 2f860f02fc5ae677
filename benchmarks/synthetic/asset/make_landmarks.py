"""Find dlib's 68 landmarks on the head model and write ``landmarks.json``.

    python -m benchmarks.synthetic.asset.make_landmarks

The template is rendered from the front, dlib detects its points, and they are made symmetric. Each becomes a point on
the nearest visible triangle of skin, so that the points of the eyes are on the rims of the lids. The points of the
inner lips come from a face with an open mouth, where they are apart. The result was checked by eye and is committed; a
picture for that check is written to ``landmarks.png`` in the current folder.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reference_models.data.synthetic.action_units import UNITS
from reference_models.data.synthetic.head import SKIN, load_head
from reference_models.data.synthetic.landmarks import FILE
from reference_models.data.synthetic.looks import MEAN_BROW_ARCH
from reference_models.data.synthetic.people import Identity, draw_identity
from reference_models.data.synthetic.render import render, visible
from reference_models.data.synthetic.scene import Frame, draw_frame
from reference_models.data.synthetic.styles import style
from reference_models.faces.landmarks import choose, detect

SIZE = 900
MIRROR = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
"""Index of each landmark's mirror image on the other side of the face."""
_INNER_LIPS = range(60, 68)
_CHIN = 1.05  # decimetres: smallest z of the chin; the neck lies behind


def main() -> None:
    """Write the landmarks, and a picture to check them."""
    person, studio = _template(), style("studio")
    vertices, weights = np.zeros((68, 3), dtype=np.int64), np.zeros((68, 3))
    for levels, points in (({}, range(60)), ({25: 1.0, 26: 0.8}, _INNER_LIPS)):
        drawn = draw_frame(0, studio, 5, 0, {}, person)
        camera = drawn.camera._replace(x=0.0, y=7.1, side=2.6, distance=40.0, noise=0.0)
        light = drawn.light._replace(key_direction=(0.0, 0.3, 0.954))
        acting = {unit: (weight, weight) for unit, weight in levels.items()}
        frame = Frame(acting, 0.0, (0.0, 0.0), (0.0, 0.0, 0.0), light, drawn.backdrop, camera)
        image = render(person, frame, size=SIZE).image
        found = choose(detect(image)).points
        mirrored = found[MIRROR] * [-1, 1] + [SIZE - 1, 0]
        for point in points:
            if MIRROR[point] >= point:
                middle = (found[point] + mirrored[point]) / 2
                vertices[point], weights[point] = _on_surface(
                    person, frame, middle, before=_CHIN if 5 <= point <= 8 else 0.0
                )
                vertices[MIRROR[point]], weights[MIRROR[point]] = _twins(vertices[point]), weights[point]
    FILE.write_text(json.dumps({"vertices": vertices.tolist(), "weights": weights.round(4).tolist()}) + "\n")
    _draw(image, found).save("landmarks.png")


def _template() -> Identity:
    """Return the unchanged head model, with the skin and hair of a random person and average brows."""
    drawn = draw_identity(0, style("studio"), 5)
    hair = drawn.hair._replace(brow_height=0.0, brow_arch=MEAN_BROW_ARCH, brow_length=1.0)
    gains = dict.fromkeys(UNITS, (1.0, 1.0))
    return Identity(tuple(0.0 for _ in drawn.shapes), gains, {}, 0.0, drawn.skin, hair, drawn.eyes)


def _on_surface(
    person: Identity, frame: Frame, point: NDArray[np.float64], before: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the vertices of the visible skin triangle nearest to a point of the picture, and the point's weights.

    Vertices with z below ``before`` are ignored, so that the chin's outline ends on the chin and not on the neck.
    """
    seen, parts, (_, triangles, screen) = visible(person, frame, SIZE)
    head = load_head()
    outside = (head.masks[:, 1] < 0.5) & (head.vertices[:, 2] > before)  # not the inside of the mouth
    fits = (parts == SKIN) & outside[triangles].all(1)
    rows, columns = np.nonzero(np.append(fits, False)[seen])
    nearest = np.argmin((columns - 2 * point[0] - 0.5) ** 2 + (rows - 2 * point[1] - 0.5) ** 2)
    row, column = rows[nearest], columns[nearest]
    corners = triangles[seen[row, column]]
    matrix = np.vstack([screen[corners, :2].T, np.ones(3)])
    return corners, np.linalg.solve(matrix, [column, row, 1])


def _twins(vertices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the vertices' mirror images."""
    rest = load_head().vertices
    return np.array([np.argmin(((rest - rest[vertex] * [-1, 1, 1]) ** 2).sum(1)) for vertex in vertices])


def _draw(image: NDArray[np.uint8], found: NDArray[np.float64]) -> Image.Image:
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for x, y in found:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(255, 60, 60))
    return picture


if __name__ == "__main__":
    if not FILE.is_file():  # rendering needs some file, but its content does not change the template's picture
        FILE.write_text(json.dumps({"vertices": [[index * 9] * 3 for index in range(68)], "weights": [[1, 0, 0]] * 68}))
    main()
