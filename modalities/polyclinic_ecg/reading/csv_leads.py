"""Read a table of leads over time: one row per sample, one column of time, and a column per lead."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.recording import MAX_VALUES, Channel, lead_index, millivolts_per, upright_name

_MAX_BYTES = 500_000_000
_MAX_HEADER = 2000
_CHECKED_BYTES = 16_384
_PER_SECOND = {"s": 1.0, "ms": 1e3}
_TIMES = {"time": "", "t": "", "time_s": "s", "time_ms": "ms"}
_MAX_UNEVEN = 0.25
"""Largest deviation of a time from its even place, in steps; a lost sample is 0.5 at least."""

_WHOLE_RATE = 1e-4
"""A rate this near to an integer, relatively, is that integer: printed times are rounded."""


class _Column(NamedTuple):
    """A column title in parts, both in the file's spelling; the unit is empty if it has none."""

    name: str
    unit: str

    @property
    def time_unit(self) -> str | None:
        """The unit of a column of time, seconds if none is stated; None for any other column."""
        stated = _TIMES.get(self.name.casefold())
        return None if stated is None else (stated or self.unit or "s").casefold()

    @property
    def is_lead(self) -> bool:
        """Whether it has the name of a lead or of an inverted one."""
        return lead_index(upright_name(self.name)) is not None


def is_csv(head: bytes) -> bool:
    """Return whether the first line of a file is a table's header with a column of time or a lead beside others."""
    line = head.splitlines()[0] if head.strip() else b""
    if len(line) > _MAX_HEADER or line.startswith(b"<") or b"\0" in line:
        return False
    columns = _columns(line.decode("utf-8-sig", errors="replace"))
    return len(columns) > 1 and any(column.is_lead for column in columns)


def read_csv(path: Path) -> tuple[list[Channel], float]:
    """Read the leads and the rate of a table.

    The header names the leads as ``lead_index`` knows them, and one column of time: ``time`` or ``t`` in seconds, or
    ``time_s``, ``time_ms``. The unit of the leads stands after at least one of them, as in ``II (mV)`` or ``V1 [uV]``.
    A missing sample is ``nan``; an empty cell is refused.

    Args:
        path: file with a comma, semicolon or tab between the cells, and a decimal point.

    Returns:
        The leads, and the samples per second, which is an integer where the times are within 0.01 % of one.

    Raises:
        UnreadableSource: the header is another, a cell is not a number, or the times are not even.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UnreadableSource(f"CSV file larger than {_MAX_BYTES:,} bytes")
    header, _, body = path.read_bytes().partition(b"\n")
    columns = _columns(header.decode("utf-8-sig", errors="replace"))
    time, unit = _checked(columns)
    values = _numbers(body, _delimiter(header.decode("utf-8", errors="replace")), len(columns))
    rate = _rate(values[:, time] / _PER_SECOND[columns[time].time_unit or "s"])
    return [Channel(column.name, unit, values[:, place]) for place, column in enumerate(columns) if place != time], rate


def check_csv(path: Path) -> None:
    """Check the header and the first rows of a table, for which ``read_csv`` parses all of them.

    Raises:
        UnreadableSource: the header is another, a cell of the first rows is not a number, or their times are not even.
    """
    with path.open("rb") as stream:
        head = stream.read(_CHECKED_BYTES)
        is_cut = bool(stream.read(1))
    header, _, body = head.partition(b"\n")
    columns = _columns(header.decode("utf-8-sig", errors="replace"))
    time, _ = _checked(columns)
    rows = body.rpartition(b"\n")[0] if is_cut else body
    values = _numbers(rows, _delimiter(header.decode("utf-8", errors="replace")), len(columns))
    _rate(values[:, time])


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _columns(header: str) -> list[_Column]:
    return [_column(title.strip().strip('"').strip()) for title in header.strip().split(_delimiter(header))]


def _column(title: str) -> _Column:
    """Split ``II (mV)`` or ``II [mV]`` into name and unit."""
    for opening, closing in ("()", "[]"):
        name, found, unit = title.removesuffix(closing).rpartition(opening)
        if found and title.endswith(closing):
            return _Column(name.strip(), unit.strip())
    return _Column(title, "")


def _checked(columns: list[_Column]) -> tuple[int, str]:
    """Return the place of the column of time and the unit of the leads."""
    times = [place for place, column in enumerate(columns) if column.time_unit is not None]
    if len(times) != 1 or columns[times[0]].time_unit not in _PER_SECOND:
        raise UnreadableSource(f"CSV with {len(times)} columns of time; expected one: `time_s` or `time_ms`")
    leads = [column for place, column in enumerate(columns) if place != times[0]]
    if not all(column.is_lead for column in leads):
        raise UnreadableSource("CSV with a column that is neither time nor a lead; expected leads such as `II (mV)`")
    units = {column.unit for column in leads if column.unit}
    if len(units) != 1:
        raise UnreadableSource(f"CSV with {len(units)} units; expected one for all leads, such as `II (mV)`")
    unit = units.pop()
    millivolts_per(unit)
    return times[0], unit


def _numbers(body: bytes, delimiter: str, columns: int) -> Float[np.ndarray, "N C"]:
    """Parse the rows.

    Raises:
        UnreadableSource: a cell is not a number, rows differ in length, or there are too many values or none.
    """
    if body.count(delimiter.encode()) > MAX_VALUES:
        raise UnreadableSource(f"CSV of more than {MAX_VALUES:,} values")
    try:
        with warnings.catch_warnings():
            # An empty table is a warning.
            warnings.simplefilter("error")
            lines = body.decode("ascii").splitlines()
            values = np.loadtxt(lines, delimiter=delimiter, ndmin=2, comments=None, dtype=np.float64)
    except (ValueError, UserWarning):
        raise UnreadableSource("CSV with no rows, or with a row that is not a number in every column") from None
    if values.shape[1] != columns:
        raise UnreadableSource(f"CSV of {values.shape[1]} columns; its header names {columns}")
    return values


def _rate(seconds: Float[np.ndarray, " N"]) -> float:
    """Return the rate of even times.

    Raises:
        UnreadableSource: a time is missing, repeated, or more than a quarter of a step from its even place.
    """
    span = float(seconds[-1] - seconds[0]) if len(seconds) > 1 else 0.0
    if not (np.isfinite(seconds).all() and 0 < span < np.inf):
        raise UnreadableSource("CSV whose times do not grow; expected a sample per row in their order")
    step = span / (len(seconds) - 1)
    even = seconds[0] + step * np.arange(len(seconds))
    if np.abs(seconds - even).max() > _MAX_UNEVEN * step:
        raise UnreadableSource("CSV whose times are not even; expected one rate and no lost sample")
    rate = 1 / step
    return float(round(rate)) if abs(rate - round(rate)) <= _WHOLE_RATE * rate else rate
