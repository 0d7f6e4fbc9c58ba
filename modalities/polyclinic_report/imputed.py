"""A report that a model filled in, to be looked at and kept."""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes

_WIDTH = 44
_LINES = 12
_WARNING = (
    "SYNTHETIC: predicted by a model from other modalities, never written by anyone. Each word is the likeliest at its "
    "place, whatever the others are: read a list of words, not sentences."
)


def draw_text(text: str, axes: Axes) -> None:
    """Draw the first lines of a text."""
    lines = textwrap.wrap(text, _WIDTH)
    shown = [*lines[:_LINES], "..."] if len(lines) > _LINES else lines
    axes.text(0.0, 1.0, "\n".join(shown), va="top", family="monospace", fontsize=7, transform=axes.transAxes)
    axes.set_axis_off()


def write_text(text: str, path: Path) -> Path:
    """Write a text file that starts by saying what it is."""
    written = path.with_name(f"{path.name}.txt")
    written.write_text(f"{_WARNING}\n\n{text}\n", encoding="utf-8")
    return written
