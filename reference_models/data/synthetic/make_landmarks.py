"""Find the vertices that are dlib's 68 landmarks, once, and print them for ``landmarks.py``.

The template is drawn from the front, dlib finds its points, they are made symmetric, and each is snapped to the nearest
vertex that can be seen; those of the inner lips on a face whose mouth is open, where they lie apart. The result was
checked by eye and is committed: this script is kept as its record.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reference_models.data.synthetic import render as renderer
from reference_models.data.synthetic.action_units import UNITS
from reference_models.data.synthetic.head import SKIN, load_head
from reference_models.data.synthetic.mesh import add_targets, normals, place
from reference_models.data.synthetic.people import Identity, draw_identity
from reference_models.data.synthetic.scene import Frame, draw_frame
from reference_models.data.synthetic.styles import style
from reference_models.faces.landmarks import choose, detect

SIZE = 900
LID = 0.192  # decimetres from the middle of an eyeball within which a vertex is on the rim of a lid
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
"""The landmark on the other side of each."""
_INNER_LIPS = tuple(range(60, 68))


def main() -> None:
    """Print the numbers of the vertices, and write a picture to check them by."""
    studio = style("studio")
    drawn = draw_identity(0, studio, 5)
    average = Identity(
        tuple(0.0 for _ in drawn.shapes), dict.fromkeys(UNITS, (1.0, 1.0)), 0.0, drawn.skin, drawn.hair, drawn.eyes
    )
    found = np.zeros(68, dtype=int)
    for levels, points in (({}, range(60)), ({25: 5, 26: 4}, _INNER_LIPS)):
        frame = draw_frame(0, studio, 5, 0, levels, average)
        camera = frame.camera._replace(x=0.0, y=7.1, side=2.6, distance=40.0, noise=0.0)
        light = frame.light._replace(key_direction=(0.0, 0.3, 0.954))
        frame = Frame(
            {unit: (level / 5, level / 5) for unit, level in levels.items()},
            0.0,
            (0, 0),
            (0, 0, 0),
            light,
            frame.backdrop,
            camera,
        )
        image = renderer.render(average, frame, size=SIZE).image
        face = choose(detect(image))
        snapped = _snap(_vertices(frame), face.points)
        found[list(points)] = snapped[list(points)]
        if not levels:
            _draw(image, face.points, _on_screen(_vertices(frame))[snapped]).save("landmarks.png")
    print(found.tolist())


def _vertices(frame: Frame) -> NDArray[np.float64]:
    head = load_head()
    vertices = head.vertices.copy()
    units = head.units
    add_targets(vertices, renderer._unit_weights(frame), units.start, units.index, units.delta, renderer.THOUSANDTH)  # noqa: SLF001
    return vertices


def _on_screen(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    return place(vertices, 1.0, 40.0, 0.0, 7.1, SIZE / 2.6, SIZE)[:, :2]


def _snap(vertices: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    head = load_head()
    skin = np.zeros(len(vertices), dtype=bool)
    skin[head.triangles[head.parts == SKIN]] = True
    normal = normals(vertices, head.triangles)
    screen = _on_screen(vertices)
    middle = (SIZE - 1) / 2
    mirrored = points[MIRROR] * [-1, 1] + [2 * middle, 0]
    wanted = (points + mirrored) / 2
    result = np.zeros(68, dtype=np.int64)
    eyes = renderer._eye_centers()  # noqa: SLF001
    away = np.sqrt(((head.vertices[:, None] - eyes[None]) ** 2).sum(2)).min(1)
    lids = skin & (away < LID) & (head.masks[:, 2] > 0.5)
    for point in range(68):
        allowed = skin & (normal[:, 2] > (0.02 if point < 17 else 0.15)) & (vertices[:, 2] > 0.2)
        if 36 <= point < 48:
            allowed = lids
        if MIRROR[point] == point:
            allowed &= np.abs(head.vertices[:, 0]) < 0.004
        distance = ((screen - wanted[point]) ** 2).sum(1) + np.where(allowed, 0, 1e9)
        result[point] = int(np.argmin(distance))
    for point in range(68):  # exactly symmetric: the left half is the mirror of the right
        if MIRROR[point] > point:
            twin = head.vertices[result[point]] * [-1, 1, 1]
            result[MIRROR[point]] = int(np.argmin(((head.vertices - twin) ** 2).sum(1) + np.where(skin, 0, 1e9)))
    return result


def _draw(image: NDArray[np.uint8], found: NDArray[np.float64], snapped: NDArray[np.float64]) -> Image.Image:
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for points, color in ((found, (255, 60, 60)), (snapped, (60, 255, 60))):
        for x, y in points:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color)
    return picture


if __name__ == "__main__":
    main()
