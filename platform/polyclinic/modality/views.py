"""Views of a study for people: pictures, traces, rows, courses and words, as data that any page can draw.

Relevance is given in the frame of its view, as a share of the largest value.
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
"""Most pixels of the longer side of a picture: more do not fit on a screen beside other views."""

_HUNDREDTHS, _THOUSANDTHS = 2, 3


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The scale of one side of a picture.

    Attributes:
        name: name of the quantity.
        unit: unit of the numbers.
        ticks: pairs of a position, as a share of the side from the left or the bottom, and the number there.
    """

    name: str
    unit: str
    ticks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A greyscale picture.

    Attributes:
        grey: pixels, the top row first.
        caption: processing of the stored pixels.
        across: scale of the lower side; None where positions have no unit.
        up: scale of the left side.

    Raises:
        ValueError: the picture is empty, or a side is longer than ``LONGEST_SIDE``.
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
        """Return plain JSON values; ``png`` is the picture in base64."""
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
    """Signals of several leads over the same time span.

    Attributes:
        values: samples of each lead, in ``unit``; NaN where nothing was recorded.
        names: names of the leads.
        unit: unit of the values.
        rate: samples per second.
        caption: part of the recording, and its processing.
        paper: sides of a large square of graph paper (5 x 5 small squares) in seconds and in ``unit``; None for plain
            paper.

    Raises:
        ValueError: the numbers of names and leads differ.
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
        """Return plain JSON values, rounded to hundredths of the unit; null where nothing was recorded."""
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
    """A row of a table.

    Attributes:
        name: name of the measurement.
        value: number; None where it is missing, or where there is a level.
        unit: unit of the value and the range; empty without one.
        low: lower end of the reference range; None without one.
        high: upper end of the reference range; None without one.
        level: category of a measurement without a number; None where it is missing.
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
        entries: rows, in the order of the columns of the source.
        caption: origin of the reference ranges.
    """

    entries: tuple[Entry, ...]
    caption: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, with four significant digits."""
        numbers = ("value", "low", "high")
        entries = [
            {key: _four_digits(value) if key in numbers else value for key, value in asdict(entry).items()}
            for entry in self.entries
        ]
        return {"kind": "rows", "entries": entries, "caption": self.caption}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One measurement over time.

    Attributes:
        name: name of the measurement.
        unit: unit of the values and the ranges; empty without one.
        hours: times of the events, in rising order.
        values: number of each event; NaN where it has none.
        low: lower end of the reference range at each event; NaN without one.
        high: upper end of the reference range at each event; NaN without one.
        levels: text of each event without a number; None where there is a number or nothing.

    Raises:
        ValueError: the numbers of times, values, ends and texts differ.
    """

    name: str
    unit: str
    hours: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    levels: tuple[str | None, ...]

    def __post_init__(self) -> None:
        lengths = [len(part) for part in (self.hours, self.values, self.low, self.high, self.levels)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"got {lengths} times, values, lower ends, upper ends and texts of {self.name!r}, expected one of each "
                "for every event; set them"
            )


@dataclass(frozen=True, kw_only=True)
class Courses:
    """A chart of measurements over the same time.

    Attributes:
        series: measurements, in the order of the chart.
        caption: event from which times count, and origin of the reference ranges.
    """

    series: tuple[Series, ...]
    caption: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values: times in hundredths of an hour, other numbers with four significant digits."""
        numbers = ("values", "low", "high")
        return {
            "kind": "courses",
            "series": [
                {
                    "name": each.name,
                    "unit": each.unit,
                    "hours": _rounded(each.hours, _HUNDREDTHS),
                    **{name: [_four_digits(float(value)) for value in getattr(each, name)] for name in numbers},
                    "levels": list(each.levels),
                }
                for each in self.series
            ],
            "caption": self.caption,
        }


@dataclass(frozen=True, kw_only=True)
class Words:
    """A text as a sequence of words.

    Attributes:
        words: words, each with the white space before it; joined they are the text.
        caption: part of the report.
    """

    words: tuple[str, ...]
    caption: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "words", "words": list(self.words), "caption": self.caption}


View: TypeAlias = Picture | Traces | Rows | Courses | Words


@dataclass(frozen=True, kw_only=True)
class OnPicture:
    """Relevance of the cells of a regular grid over a picture.

    Attributes:
        strength: relevance of the cells, the top row first.
        across: start of the first column and end of the last one, as shares of the width of the picture; what is
            outside 0 to 1 is cut off.
    """

    strength: Float[np.ndarray, "R C"]
    across: tuple[float, float] = (0.0, 1.0)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [_rounded(row, _THOUSANDTHS) for row in self.strength]
        return {"kind": "grid", "strength": rows, "across": list(self.across)}


@dataclass(frozen=True, kw_only=True)
class OnTraces:
    """Relevance of equal time intervals of traces.

    Attributes:
        strength: relevance of all leads together (one row) or of each lead.
        seconds: start of the first interval and end of the last one, from the first sample that is shown.
    """

    strength: Float[np.ndarray, "R n"]
    seconds: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [_rounded(row, _THOUSANDTHS) for row in self.strength]
        return {"kind": "stretches", "strength": rows, "seconds": list(self.seconds)}


@dataclass(frozen=True, kw_only=True)
class OnRows:
    """Relevance of each row of a table."""

    strength: Float[np.ndarray, " R"]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "rows", "strength": _rounded(self.strength, _THOUSANDTHS)}


@dataclass(frozen=True, kw_only=True)
class OnCourses:
    """Relevance of each event of each series of a chart."""

    strength: tuple[Float[np.ndarray, " _"], ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "courses", "strength": [_rounded(series, _THOUSANDTHS) for series in self.strength]}


@dataclass(frozen=True, kw_only=True)
class OnWords:
    """Relevance of each word of a text."""

    strength: Float[np.ndarray, " W"]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "words", "strength": _rounded(self.strength, _THOUSANDTHS)}


Located: TypeAlias = OnPicture | OnTraces | OnRows | OnCourses | OnWords
"""Relevance in the frame of a view."""


def _rounded(values: Iterable[float], digits: int) -> list[float | None]:
    """Round numbers for JSON: None where not finite, and no negative zero."""
    return [round(float(value), digits) + 0.0 if math.isfinite(value) else None for value in values]


def _four_digits(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
