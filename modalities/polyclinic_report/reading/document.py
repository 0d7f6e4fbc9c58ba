"""Read the text of a report from a file, a cell or inline text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from polyclinic.modality import ArrayRow, EventWindow, Source, UnreadableSource
from polyclinic_report.reading.encodings import decode
from polyclinic_report.reading.markup import plain_text, refuse_other_document

MAX_BYTES = 1_000_000
"""Longer files are refused; the longest real reports have some ten thousand characters."""

_MAX_CONTROL_SHARE = 0.01
_WHITE_SPACE = "\t\n\v\f\r"


@dataclass(frozen=True)
class Document:
    """Text of one report.

    Attributes:
        text: text of the chosen section.
        facts: encoding, format, section and length, for ``describe``.
    """

    text: str
    facts: Mapping[str, float | str]


class Decoded(NamedTuple):
    """Decoded source.

    Attributes:
        text: text with line feeds as its only line ends.
        encoding: name of the encoding, or ``inline``.
        format: markup from which the text was extracted, or ``plain``.
    """

    text: str
    encoding: str
    format: str


def read_source(source: Source, encoding: str | None = None) -> Decoded:
    """Decode a text file, inline text or a single cell, and extract the text from its markup.

    Args:
        source: source of the report.
        encoding: encoding of files that are not UTF-8; None to detect it.

    Raises:
        UnreadableSource: the file is missing, too long, binary or of ambiguous encoding, or there is more than one
            column.
    """
    if isinstance(source, Path):
        stored = _load(source)
        refuse_other_document(stored)
        text, name = decode(stored, encoding)
    elif isinstance(source, str):
        text, name = source, "inline"
    elif isinstance(source, ArrayRow | EventWindow):
        raise UnreadableSource("got an array or events, expected text or a text file; set `text` in the cohort")
    elif len(source) == 1:
        text, name = next(iter(source.values())), "inline"
    else:
        raise UnreadableSource(
            f"got {len(source)} columns, expected one column of text; set `text` or `columns` in the cohort"
        )
    text, kind = plain_text(text)
    _refuse_binary(text)
    return Decoded(text.replace("\r\n", "\n").replace("\r", "\n"), name, kind)


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stored = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    if len(stored) > MAX_BYTES:
        raise UnreadableSource(f"file of more than {MAX_BYTES:,} bytes; expected the text of one report")
    return stored


def _refuse_binary(text: str) -> None:
    if "\0" in text:
        raise UnreadableSource("text with NUL bytes; expected plain text, UTF-16 with its byte order mark")
    control = sum(character < " " and character not in _WHITE_SPACE for character in text)
    if control > _MAX_CONTROL_SHARE * len(text):
        raise UnreadableSource(f"{control} control characters in {len(text)}; expected plain text, not a binary file")
