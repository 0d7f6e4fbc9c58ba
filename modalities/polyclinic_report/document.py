"""From a stored report to its text, whatever it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyclinic.modality import ArrayRow, Source, UnreadableSource

MAX_BYTES = 1_000_000
"""Longer files are refused as no report; the longest real ones have some ten thousand characters."""

_CONTROL_SHARE = 0.01
_WHITE = "\t\n\v\f\r"


@dataclass(frozen=True)
class Document:
    """The chosen text of one report, with the facts of how it was obtained."""

    text: str
    facts: Mapping[str, float | str]


def read_source(source: Source) -> tuple[str, str]:
    """Decode a text file, inline text or the one cell of a mapping.

    Returns:
        The text with line feeds as the only line ends, and the name of its encoding or ``"inline"``.

    Raises:
        UnreadableSource: no file, too long, binary, or more than one column.
    """
    if isinstance(source, Path):
        text, encoding = _decode(_load(source))
    elif isinstance(source, str):
        text, encoding = source, "inline"
    elif isinstance(source, ArrayRow):
        raise UnreadableSource("got a row of an array, expected text or a text file; set `text` in the cohort")
    elif len(source) == 1:
        text, encoding = next(iter(source.values())), "inline"
    else:
        raise UnreadableSource(
            f"got {len(source)} columns, expected one column of text; set `text` or `columns` in the cohort"
        )
    _refuse_binary(text)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            stored = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    if len(stored) > MAX_BYTES:
        raise UnreadableSource(f"file of more than {MAX_BYTES:,} bytes; expected the text of one report")
    return stored


def _decode(stored: bytes) -> tuple[str, str]:
    """UTF-8 where valid; else the code page of older hospital systems, in which five bytes mean nothing."""
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return stored.decode(encoding), encoding.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    raise UnreadableSource("bytes that are neither UTF-8 nor cp1252 text; expected a plain text file")


def _refuse_binary(text: str) -> None:
    if "\0" in text:
        raise UnreadableSource("text with NUL bytes; expected plain text in UTF-8 or cp1252")
    control = sum(character < " " and character not in _WHITE for character in text)
    if control > _CONTROL_SHARE * len(text):
        raise UnreadableSource(f"{control} control characters in {len(text)}; expected plain text, not a binary file")
