"""A row that a model filled in, to be looked at and kept."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

_WARNING = "synthetic: predicted by a model from other modalities, never measured"


def draw_row(names: Sequence[str], texts: Sequence[str], places: Sequence[float], axes: Axes) -> None:
    """Draw where each column's value lies among those of training, with the value beside it.

    Args:
        names: of the columns.
        texts: values with their units; empty where unknown.
        places: from 0 to 1, NaN where unknown or without an order.
        axes: to draw on.
    """
    rows = range(len(names))
    axes.barh(rows, np.nan_to_num(np.clip(places, 0, 1)), color="#56B4E9", height=0.7)
    for row, text in zip(rows, texts, strict=True):
        axes.text(0.02, row, text, va="center", fontsize=7)
    axes.set_yticks(rows, names, fontsize=7)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="share of training values below")


def write_row(names: Sequence[str], values: Sequence[str], units: Sequence[str], path: Path) -> Path:
    """Write name, value, unit and, in every line, where the value comes from."""
    written = path.with_name(f"{path.name}.csv")
    lines = zip(names, values, units, [_WARNING] * len(names), strict=True)
    with written.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("name", "value", "unit", "source"), *lines])
    return written
