"""Strict CSV reader: rows as long as the header, closed quotation marks, valid encoding."""

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

from polyclinic.cohort.table_encoding import certain_encoding

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""Exceptions raised on reading a file that is damaged or does not match its magic bytes."""

_BATCH_ROWS = 50_000
_MAX_CELL = 50_000_000
_MIN_COLUMNS = 4
_HEAD_BYTES = 4096
_MAX_SEARCHED_BYTES = 1 << 26
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# Western text has one or two accented letters in a row; words in another alphabet have longer runs of high bytes.
_FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3}")
_TABS = re.compile(r"\.(?:tsv|tab)(?:\.|$)", re.IGNORECASE)


class _Row(NamedTuple):
    """Cells of a row, and the line of the file in which it starts."""

    line: int
    cells: list[str]


def read_csv(path: Path, *, encoding: str, wanted: Collection[str]) -> pd.DataFrame:
    """Read a table with every cell as text.

    The file may be compressed (gzip, bzip2, xz, or a zip of one file), which is detected by its magic bytes. The
    delimiter is a comma, or a tab where the name ends in ``.tsv`` or ``.tab``. A column without a name is called
    ``Unnamed: 0``, with its index.

    Args:
        path: CSV file.
        encoding: encoding of the text; a byte order mark takes precedence.
        wanted: columns of which the header must have at least one, unless there is none.

    Raises:
        ValueError: the header has no wanted column; a row is longer or shorter than the header; two columns have the
            same name; a quotation mark is not closed; or the text does not match its encoding.
    """
    previous = csv.field_size_limit(_MAX_CELL)
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


def utf8_or_certain(path: Path, *, otherwise: str = "") -> str:
    """Return ``utf-8``, or the only other encoding in which a CSV file is plausible text.

    Args:
        path: CSV file.
        otherwise: encoding to return for a file that is not UTF-8, whatever is plausible.

    Raises:
        ValueError: the file is not UTF-8, and its encoding is not certain.
    """
    with _opened(path) as stream:
        if _encoding(path.name, stream, "utf-8") != "utf-8":  # it has a byte order mark
            return "utf-8"
        content = stream.read(_MAX_SEARCHED_BYTES + 1)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content, final=len(content) <= _MAX_SEARCHED_BYTES)
    except UnicodeDecodeError:
        encoding = otherwise or (certain_encoding(content) if len(content) <= _MAX_SEARCHED_BYTES else "")
        if not encoding:
            raise ValueError(
                f"{path.name} is not UTF-8, and its letters do not show its encoding; save it as CSV in UTF-8, or set "
                "`--encoding`, such as cp1252"
            ) from None
        return encoding
    return "utf-8"


def refuse_repeated(name: str, columns: Sequence[str]) -> None:
    """Raise ValueError if two columns have the same name."""
    if repeated := [column for place, column in enumerate(columns) if column in columns[:place]]:
        raise ValueError(
            f"{name} has {columns.count(repeated[0])} columns called {repeated[0]!r}; rename them, or keep only one"
        )


def _opened(path: Path) -> io.BufferedReader:
    """Open a file for reading, decompressed."""
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


def _encoding(name: str, stream: io.BufferedReader, requested: str) -> str:
    head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    encoding = known_encoding(requested)
    if encoding in ("utf-16", "utf-32"):
        raise ValueError(
            f"{name} has no byte order mark, which {encoding} needs; set `encoding`, such as {encoding}-le"
        )
    if b"\0" in head and not encoding.startswith(("utf-16", "utf-32")):
        order = "be" if head.startswith(b"\0") else "le"
        raise ValueError(f"{name} holds zero bytes, as UTF-16 text does; set `encoding`, such as utf-16-{order}")
    return encoding


def known_encoding(requested: str) -> str:
    """Return the name that Python has for an encoding.

    Raises:
        ValueError: Python does not know it, or it is not of text.
    """
    try:
        encoding = codecs.lookup(requested).name
        "".encode(encoding)  # raises LookupError for codecs that are not of text, such as zlib
    except LookupError:
        raise ValueError(
            f"got encoding {requested!r}, expected one that Python supports; set `encoding`, such as cp1252"
        ) from None
    return encoding


def _undecodable(path: Path, requested: str) -> str:
    """Return an error message with the first undecodable line, and cp1252 as a hint where it is likely."""
    with _opened(path) as stream:
        encoding = _encoding(path.name, stream, requested)
        content = stream.read(_MAX_SEARCHED_BYTES)
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
                _refuse_swallowed_rows(name, line, cells, delimiter)
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield _Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{name} has a quotation mark that is not closed, or not at the end of its cell, in the row that starts in "
            f"line {line} ({error}, line {reader.line_num}); double quotation marks inside a quoted cell"
        ) from None


def _refuse_swallowed_rows(name: str, line: int, cells: Sequence[str], delimiter: str) -> None:
    """Refuse a quoted cell that contains complete rows: it was closed only by a quotation mark of a later row.

    Prose has a space after its commas; a row of a table does not.
    """
    if len(cells) < _MIN_COLUMNS:
        return
    for cell in cells:
        for place, inner in enumerate(cell.splitlines()):
            parts = inner.split(delimiter)
            if place and len(parts) == len(cells) and not any(part.startswith(" ") for part in parts):
                raise ValueError(
                    f"{name} has a quoted cell in the row that starts in line {line} which contains a row of as many "
                    "cells as the header; close the quotation mark at the end of its cell"
                )


def _header(name: str, cells: Sequence[str], wanted: Collection[str]) -> list[str]:
    header = [cell.strip("\ufeff \t\r\n") or f"Unnamed: {place}" for place, cell in enumerate(cells)]
    if not header:
        raise ValueError(f"{name} is empty; expected a header and one row per study")
    if wanted and not set(wanted) & set(header):
        # The message omits the cells: without a header they belong to a patient.
        raise ValueError(
            f"{name} has none of the required columns in its first line of {len(header)} cells; "
            f"expected a header such as {sorted(wanted)[:3]} whose names are separated by commas (tabs in .tsv)"
        )
    refuse_repeated(name, header)
    return header


def _batches(name: str, header: Sequence[str], rows: Iterator[_Row]) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    for row in rows:
        if len(row.cells) != len(header):
            is_trailing = len(row.cells) == len(header) + 1 and not row.cells[-1].strip()
            raise ValueError(
                f"{name} has {len(row.cells)} cells in line {row.line}, expected {len(header)} as in its header; "
                + ("remove the delimiter after the last cell, or name its column" if is_trailing else "correct the row")
            )
        batch.append(row.cells)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
