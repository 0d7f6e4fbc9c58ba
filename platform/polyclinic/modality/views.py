"""What people see of a study: pictures, traces, rows and words, as data that any page can draw.

Relevance comes along in the frame of the view that it belongs to, as a share of the largest.
"""

import base64
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

LONGEST_SIDE = 1024
"""Pixels of a picture's longer side, at most: more do not fit a screen beside anything else."""

_HUNDREDTHS, _THOUSANDTHS = 2, 3


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one side of a picture means.

    Attributes:
        name: of the quantity.
        unit: of the numbers.
        ticks: where a number stands, as a share of the side from the left or from the bottom, and the number.
    """

    name: str
    unit: str
    ticks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Pixels in grey.

    Attributes:
        grey: the top row first.
        caption: what was done to what was stored.
        across: of the lower side; None where a place means nothing but itself.
        up: of the left side.

    Raises:
        ValueError: no pixel, or a side longer than ``LONGEST_SIDE``.
    """

    grey: UInt8[np.ndarray, "H W"]
    caption: str
    across: Axis | None = None
    up: Axis | None = None

    def __post_init__(self) -> None:
        height, width = self.grey.shape
        if not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE):
            raise ValueError(
                f"got a picture of {height} x {width} pixels, expected sides of 1 to {LONGEST_SIDE}; make it smaller "
                "in `view`"
            )

    def as_json(self) -> dict[str, Any]:
        """Plain values; ``png`` is the picture in base64."""
        stored = BytesIO()
        Image.fromarray(self.grey).save(stored, "PNG")
        height, width = self.grey.shape
        return {
            "kind": "picture",
            "png": base64.b64encode(stored.getvalue()).decode("ascii"),
            "height": height,
            "width": width,
            "caption": self.caption,
            "across": None if self.across is None else asdict(self.across),
            "up": None if self.up is None else asdict(self.up),
        }


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Signals over the same stretch of time.

    Attributes:
        values: of each lead, in ``unit``; NaN where nothing was recorded.
        names: of the leads.
        unit: of the values.
        rate: samples per second.
        caption: which part of the recording this is, and what was done to it.
        paper: sides of a large square of graph paper in seconds and in ``unit``, of five small ones each way; None
            for plain paper.

    Raises:
        ValueError: not one name for each lead.
    """

    values: Float[np.ndarray, "L T"]
    names: tuple[str, ...]
    unit: str
    rate: float
    caption: str
    paper: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.names) != len(self.values):
            raise ValueError(
                f"got {len(self.names)} names for {len(self.values)} leads, expected one for each; set `names`"
            )

    def as_json(self) -> dict[str, Any]:
        """Plain values, in hundredths of the unit; null where nothing was recorded."""
        return {
            "kind": "traces",
            "names": list(self.names),
            "unit": self.unit,
            "rate": float(self.rate),
            "values": [_rounded(lead, _HUNDREDTHS) for lead in self.values],
            "caption": self.caption,
            "paper": None if self.paper is None else {"seconds": self.paper[0], "unit": self.paper[1]},
        }


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of a table.

    Attributes:
        name: of what was measured.
        value: a number; None where it is missing, or where there is a level.
        unit: of value and range; empty where it has none.
        low: end of the reference range; None without one.
        high: its other end.
        level: of a quantity that has no number; None where it is missing.
    """

    name: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    level: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table of numbers and levels.

    Attributes:
        entries: in the order of the columns.
        caption: where the reference ranges are from.
    """

    entries: tuple[Entry, ...]
    caption: str

    def as_json(self) -> dict[str, Any]:
        """Plain values, with four digits that count."""
        numbers = ("value", "low", "high")
        entries = [
            {key: _four_digits(value) if key in numbers else value for key, value in asdict(entry).items()}
            for entry in self.entries
        ]
        return {"kind": "rows", "entries": entries, "caption": self.caption}


@dataclass(frozen=True, kw_only=True)
class Words:
    """A text.

    Attributes:
        words: with the white space ahead of each; joined they are the text.
        caption: which part of the report this is.
    """

    words: tuple[str, ...]
    caption: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "words", "words": list(self.words), "caption": self.caption}


View: TypeAlias = Picture | Traces | Rows | Words


@dataclass(frozen=True, kw_only=True)
class OnPicture:
    """Relevance of equal parts of a picture.

    Attributes:
        strength: the top row first.
        across: where the first column starts and the last one ends, as shares of the picture's width; what lies
            outside is not seen.
    """

    strength: Float[np.ndarray, "R C"]
    across: tuple[float, float] = (0.0, 1.0)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [_rounded(row, _THOUSANDTHS) for row in self.strength]
        return {"kind": "grid", "strength": rows, "across": list(self.across)}


@dataclass(frozen=True, kw_only=True)
class OnTraces:
    """Relevance of equal stretches of time.

    Attributes:
        strength: of all leads together (one row) or of each.
        seconds: when the first stretch starts and the last one ends, from the first sample that is seen.
    """

    strength: Float[np.ndarray, "R n"]
    seconds: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [_rounded(row, _THOUSANDTHS) for row in self.strength]
        return {"kind": "stretches", "strength": rows, "seconds": list(self.seconds)}


@dataclass(frozen=True, kw_only=True)
class OnRows:
    """Relevance of each row of a table."""

    strength: Float[np.ndarray, " R"]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "rows", "strength": _rounded(self.strength, _THOUSANDTHS)}


@dataclass(frozen=True, kw_only=True)
class OnWords:
    """Relevance of each word of a text."""

    strength: Float[np.ndarray, " W"]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "words", "strength": _rounded(self.strength, _THOUSANDTHS)}


Located: TypeAlias = OnPicture | OnTraces | OnRows | OnWords
"""Relevance in the frame of a view: of a picture, of traces, of rows, of words."""


def _rounded(values: Iterable[float], digits: int) -> list[float | None]:
    """Numbers as plain JSON takes them, without a negative zero."""
    return [round(float(value), digits) + 0.0 if math.isfinite(value) else None for value in values]


def _four_digits(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
