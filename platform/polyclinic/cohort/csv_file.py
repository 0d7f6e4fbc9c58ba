"""CSV files read strictly: rows as long as their header, closed quotation marks, a known encoding."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a file raises that is damaged or is not what its first bytes say."""

_ROWS_AT_ONCE = 50_000
_LONGEST_CELL = 50_000_000
_LEAST_COLUMNS = 4
_HEAD = 4096
_SEARCHED = 1 << 26
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# Western text has accented letters one or two at a time; words of another alphabet have runs of them.
_FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3}")
_TABS = re.compile(r"\.(?:tsv|tab)(?:\.|$)", re.IGNORECASE)


class _Row(NamedTuple):
    """Cells, and the line of the file that they start in."""

    line: int
    cells: list[str]


def read_csv(path: Path, *, encoding: str, wanted: Collection[str]) -> pd.DataFrame:
    """Every cell as text.

    The file may be compressed (gzip, bzip2, xz, or a zip of one file), which its first bytes tell. Cells are separated
    by commas, or by tabulators where the name ends in ``.tsv`` or ``.tab``. A column without a name is called
    ``Unnamed: 0`` by its place.

    Args:
        path: of the file.
        encoding: of its text, unless a byte order mark says otherwise.
        wanted: columns of which the header must have at least one, or it is taken for a row of cells.

    Raises:
        ValueError: the file is not such a table; a row is longer or shorter than the header; two columns have one
            name; a quotation mark is not closed; or the text is not in its encoding.
    """
    previous = csv.field_size_limit(_LONGEST_CELL)
    try:
        with _opened(path) as stream:
            text = io.TextIOWrapper(stream, encoding=_encoding(path.name, stream, encoding), newline="")
            rows = _rows(path.name, text, "\t" if _TABS.search(path.name) else ",")
            header = _header(path.name, next(rows, _Row(1, [])).cells, wanted)
            parts = [pd.DataFrame(cells, columns=header, dtype=str) for cells in _batches(path.name, header, rows)]
    except UnicodeError:
        raise ValueError(_undecodable(path, encoding)) from None
    finally:
        csv.field_size_limit(previous)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=header)


def refuse_repeated(name: str, columns: Sequence[str]) -> None:
    """Refuse a table in which two columns have one name."""
    if repeated := [column for place, column in enumerate(columns) if column in columns[:place]]:
        raise ValueError(
            f"{name} has {columns.count(repeated[0])} columns called {repeated[0]!r}; rename them, or leave one"
        )


def _opened(path: Path) -> io.BufferedReader:
    """The bytes of a table, decompressed."""
    with path.open("rb") as stream:
        head = stream.read(6)
    for magic, opener in _COMPRESSED.items():
        if head.startswith(magic):
            return io.BufferedReader(cast(io.RawIOBase, opener(path)))
    return path.open("rb")


def _only_file(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if len(archive.namelist()) != 1:
            raise ValueError(f"{path.name} is a spreadsheet or an archive of several files; save the table as CSV")
        return archive.open(archive.namelist()[0])


_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open, b"PK\x03\x04": _only_file,
}  # fmt: skip


def _encoding(name: str, stream: io.BufferedReader, asked: str) -> str:
    head = stream.peek(_HEAD)[:_HEAD]
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    try:
        known = codecs.lookup(asked).name
        "".encode(known)
    except LookupError:
        raise ValueError(
            f"got encoding {asked!r}, expected one that Python knows; set `encoding`, such as cp1252"
        ) from None
    if known in ("utf-16", "utf-32"):
        raise ValueError(f"{name} has no byte order mark, which {known} needs; set `encoding`, such as {known}-le")
    if b"\0" in head and not known.startswith(("utf-16", "utf-32")):
        order = "be" if head.startswith(b"\0") else "le"
        raise ValueError(f"{name} holds zero bytes, as UTF-16 text does; set `encoding`, such as utf-16-{order}")
    return known


def _undecodable(path: Path, asked: str) -> str:
    """Where a text leaves its encoding, and another one only where that is likely."""
    with _opened(path) as stream:
        encoding = _encoding(path.name, stream, asked)
        content = stream.read(_SEARCHED)
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{path.name} is not {encoding} (line {line})"
        with_cp1252 = encoding == "utf-8" and not _FOREIGN_RUN.search(content) and _decodes(content, "cp1252")
        return f"{message}; set `encoding`" + (" to cp1252, in which it can be read" if with_cp1252 else "")
    return f"{path.name} is not {encoding}; set `encoding`"


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _rows(name: str, text: io.TextIOWrapper, delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            if reader.line_num > line:
                _refuse_swallowed(name, line, cells, delimiter)
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield _Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{name} has a quotation mark that is not closed, or not where its cell ends, in the row that starts in "
            f"line {line} ({error}, line {reader.line_num}); inside a quoted cell write it twice"
        ) from None


def _refuse_swallowed(name: str, line: int, cells: Sequence[str], delimiter: str) -> None:
    """Refuse a quoted cell that holds whole rows: its quotation mark was closed by that of a later one.

    A line of prose has a space behind its commas, a row of a table has none.
    """
    if len(cells) < _LEAST_COLUMNS:
        return
    for cell in cells:
        for place, inner in enumerate(cell.splitlines()):
            parts = inner.split(delimiter)
            if place and len(parts) == len(cells) and not any(part.startswith(" ") for part in parts):
                raise ValueError(
                    f"{name} has a quoted cell in the row that starts in line {line}, and in it a row of as many "
                    "cells as the header; close the quotation mark where its cell ends"
                )


def _header(name: str, cells: Sequence[str], wanted: Collection[str]) -> list[str]:
    header = [cell.strip("\ufeff \t\r\n") or f"Unnamed: {place}" for place, cell in enumerate(cells)]
    if not header:
        raise ValueError(f"{name} is empty; expected a header and one row per study")
    if not set(wanted) & set(header):
        # Its cells are not shown: without a header they are those of a patient.
        raise ValueError(
            f"{name} has none of the columns that are needed in its first line of {len(header)} cells; "
            f"expected a header such as {sorted(wanted)[:3]} whose names are separated by commas (tabulators in .tsv)"
        )
    refuse_repeated(name, header)
    return header


def _batches(name: str, header: Sequence[str], rows: Iterator[_Row]) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    for row in rows:
        if len(row.cells) != len(header):
            behind = len(row.cells) == len(header) + 1 and not row.cells[-1].strip()
            raise ValueError(
                f"{name} has {len(row.cells)} cells in line {row.line}, expected {len(header)} as in its header; "
                + ("remove the delimiter behind the last cell, or name its column" if behind else "correct the row")
            )
        batch.append(row.cells)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
