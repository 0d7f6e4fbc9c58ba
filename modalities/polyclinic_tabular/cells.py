"""Read the cells of one study from a CSV file, long (name, value, unit) or wide (a header and one row)."""

import csv
from io import StringIO
from pathlib import Path

from polyclinic.modality import UnreadableSource

MAX_BYTES = 1_000_000
"""Larger files are refused, because the row of one study is a few kilobytes."""


def read_cells(path: Path, *, encoding: str) -> list[tuple[str, str, str]]:
    """Return name, value and unit of each cell; the unit is empty if the file has no column `unit`.

    Args:
        path: comma-separated file (RFC 4180).
        encoding: text encoding of the file.

    Raises:
        UnreadableSource: the file is not such a table, or holds more than one study.
    """
    header, *rows = _table(path, encoding)
    names = [cell.casefold() for cell in header]
    if {"name", "value"} <= set(names):
        name, value = names.index("name"), names.index("value")
        unit = names.index("unit") if "unit" in names else None
        return [(row[name], row[value], "" if unit is None else row[unit]) for row in rows]
    if len(rows) != 1:
        raise UnreadableSource(
            f"CSV with {len(rows)} rows under a header without `name` and `value`; expected such a header, or one "
            "row per file. For a table of many studies, name its columns in the cohort"
        )
    return [(name, value, "") for name, value in zip(header, rows[0], strict=True)]


def _table(path: Path, encoding: str) -> list[list[str]]:
    """Return the rows that are not empty, of equal length and with stripped cells, the header first."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    if len(content) > MAX_BYTES:
        raise UnreadableSource(f"CSV of more than {MAX_BYTES:,} bytes; expected one study per file")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise UnreadableSource(f"CSV is not encoded as {encoding}; set `encoding`, such as 'cp1252'") from None
    try:
        parsed = list(csv.reader(StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise UnreadableSource("CSV cannot be parsed: a quotation mark is never closed, or a line is damaged") from None
    rows = [[cell.strip() for cell in row] for row in parsed if any(cell.strip() for cell in row)]
    if not rows:
        raise UnreadableSource("CSV is empty; expected a header")
    if ragged := sum(len(row) != len(rows[0]) for row in rows):
        raise UnreadableSource(f"CSV with {ragged} row(s) whose length differs from its header of {len(rows[0])} cells")
    return rows
