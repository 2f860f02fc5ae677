"""Writes predictions as a table (CSV), as JSON, or as a sheet of pictures (PNG)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from reference_models.extras import load
from reference_models.figures.overlay import ACCENT, DPI, INK, PAPER, SECOND, as_png
from reference_models.prediction.predict import Prediction

_ROW, _WIDTH = 2.6, 9.0  # inches
_HALF = 0.5


def as_csv(predictions: Sequence[Prediction]) -> bytes:
    """Return a CSV file: one row for each photograph, with its path and a probability for each label."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *predictions[0].probabilities])
    writer.writerows([str(one.path), *(f"{value:.6f}" for value in one.probabilities.values())] for one in predictions)
    return text.getvalue().encode()


def as_json(predictions: Sequence[Prediction]) -> bytes:
    """Return a JSON file: a list of objects with ``image`` and ``probabilities``."""
    content = [{"image": str(one.path), "probabilities": one.probabilities} for one in predictions]
    return (json.dumps(content, indent=1) + "\n").encode()


def as_sheet(predictions: Sequence[Prediction]) -> bytes:
    """Return a PNG file with a row for each photograph: the network's input face, and a bar for each label."""
    figure = load("matplotlib.figure", package="matplotlib", extra="report").Figure(
        figsize=(_WIDTH, _ROW * len(predictions)), dpi=DPI, facecolor=PAPER, layout="constrained"
    )
    rows = figure.subplots(len(predictions), 2, squeeze=False, width_ratios=(1, 2.4))
    for (left, right), one in zip(rows, predictions, strict=True):
        left.imshow(one.face)
        left.set_title(one.path.name, fontsize=9, color=INK, parse_math=False)
        left.set_axis_off()
        names, values = list(one.probabilities), list(one.probabilities.values())
        colors = [ACCENT if value >= _HALF else SECOND for value in values]
        right.bar(names, values, color=colors)
        right.set_ylim(0, 1)
        right.tick_params(axis="x", labelsize=8, labelrotation=45, colors=INK)
        right.tick_params(axis="y", labelsize=8, colors=INK)
        right.spines[["top", "right"]].set_visible(False)
    return as_png(figure)


FORMATS: Mapping[str, Callable[[Sequence[Prediction]], bytes]] = MappingProxyType(
    {".csv": as_csv, ".json": as_json, ".png": as_sheet}
)
"""File suffix to the function that returns a file's content."""
