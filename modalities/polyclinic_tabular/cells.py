"""From a CSV file of one study to its cells, in a long form (name, value, unit) or a wide one (header and one row)."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from polyclinic.modality import UnreadableSource

MAX_BYTES = 1_000_000
"""Larger files are refused: one study's row is a few kilobytes."""


def read_cells(path: Path, *, columns: Sequence[str], units: Mapping[str, str], encoding: str) -> dict[str, str]:
    """Read raw strings by name.

    Args:
        path: a comma-separated file (RFC 4180).
        columns: names the caller will use; only these are checked and named in errors.
        units: the unit that a column must have where the file states one.
        encoding: the file's text encoding.

    Raises:
        UnreadableSource: no such table, more than one study, a name given twice, or another unit than expected.
    """
    header, *rows = _table(path, encoding)
    names = [cell.casefold() for cell in header]
    if {"name", "value"} <= set(names):
        pairs = [(row[names.index("name")], row[names.index("value")]) for row in rows]
        if "unit" in names:
            _refuse_other_units([(row[names.index("name")], row[names.index("unit")]) for row in rows], columns, units)
    elif len(rows) == 1:
        pairs = list(zip(header, rows[0], strict=True))
    else:
        raise UnreadableSource(
            f"CSV with {len(rows)} rows under a header without `name` and `value`; expected such a header, or one "
            "row per file. For a table of many studies name its columns in the cohort"
        )
    found = [name for name, _ in pairs]
    if twice := sorted(name for name in set(columns) if found.count(name) > 1):
        raise UnreadableSource(f"column(s) {', '.join(map(repr, twice))} given more than once; expected one value each")
    return dict(pairs)


def _table(path: Path, encoding: str) -> list[list[str]]:
    """Non-empty rows of equal length, cells stripped, the header first."""
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
        raise UnreadableSource(f"CSV with {ragged} row(s) of other length than its header of {len(rows[0])} cells")
    return rows


def _refuse_other_units(stated: list[tuple[str, str]], columns: Sequence[str], units: Mapping[str, str]) -> None:
    for name, unit in stated:
        if name in columns and unit and unit != units.get(name, unit):
            raise UnreadableSource(
                f"column {name!r} is not in {units[name]}; convert it, or set `units` to the unit of the cohort"
            )
