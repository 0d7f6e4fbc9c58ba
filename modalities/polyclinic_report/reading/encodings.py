"""Which character encoding a report has: stated, detected without a doubt, or asked for."""

import codecs
import re
from collections.abc import Iterator
from typing import Literal, get_args

from charset_normalizer import from_bytes

from polyclinic.modality import UnreadableSource
from polyclinic_report.readings import Reading, reading_of

EncodingName = Literal[
    "cp1250",
    "cp1251",
    "cp1252",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp437",
    "cp850",
    "cp852",
    "cp866",
    "iso8859-2",
    "iso8859-5",
    "iso8859-7",
    "iso8859-15",
    "koi8-r",
    "koi8-u",
    "mac-roman",
    "mac-cyrillic",
    "gb18030",
    "big5",
    "cp949",
    "cp932",
    "euc-jp",
    "iso2022-jp",
]
"""Python's names; each of Windows and of East Asia includes the older standard below it (ISO 8859-1 is in cp1252)."""

ENCODINGS: tuple[str, ...] = get_args(EncodingName)

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ESCAPES = re.compile(rb"\x1b[$(]")
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}\bencoding\s*=\s*["']([\w.:-]{1,40})|<meta[^>]{0,200}\bcharset\s*=\s*["']?([\w.:-]{1,40})""",
    re.IGNORECASE,
)
_HEAD = 4000
_DETECTED_FROM = 20_000
"""Bytes that the detector is given; the whole text is then decoded strictly."""

_PREFERENCE = ("cp1252", *(name for name in ENCODINGS if name not in ("cp1252", "iso2022-jp")))
_ASKED_FOR = frozenset({"cp437", "cp850", "cp852", "mac-roman"})
"""Never detected: code pages of DOS and Macintosh have accents where other pages of theirs have other accents."""

_DECISIVE = 3
"""Times as many known words as any other reading must have."""


def decode(stored: bytes, encoding: str | None) -> tuple[str, str]:
    """Decode by the byte order mark, as UTF-8, as the document declares, as ``encoding`` says, or as detected.

    Args:
        stored: a whole file.
        encoding: of files that are not UTF-8; None to detect it.

    Returns:
        The text and the name of its encoding.

    Raises:
        UnreadableSource: bytes that the encoding does not have, or more than one encoding may be meant.
    """
    for mark, name in _MARKS:
        if stored.startswith(mark):
            return _strictly(stored.removeprefix(mark) if name == "utf-8" else stored, name), name
    shifted = _ESCAPES.search(stored) is not None
    if not shifted:
        try:
            return stored.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            pass
    if declared := _declared(stored):
        return _strictly(stored, declared), declared
    if encoding is not None:
        return _strictly(stored, encoding), encoding
    if shifted:
        raise UnreadableSource("text with escape sequences, as ISO 2022 has them; set `encoding` (often iso2022-jp)")
    return _detected(stored)


def _declared(stored: bytes) -> str:
    """The encoding that XML or HTML states of itself; empty where none of a known name is stated."""
    match = _DECLARED.search(stored[:_HEAD])
    if match is None:
        return ""
    name = (match[1] or match[2]).decode("ascii").lower()
    aliases = {"iso-8859-1": "cp1252", "latin1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "euc-kr": "cp949"}
    known = {codecs.lookup(each).name: each for each in ENCODINGS}
    try:
        return aliases.get(name) or known.get(codecs.lookup(name).name, "")
    except LookupError:
        return ""


def _strictly(stored: bytes, encoding: str) -> str:
    try:
        return stored.decode(encoding)
    except UnicodeDecodeError:
        raise UnreadableSource(f"bytes that are not {encoding} text; expected a text file, set `encoding`") from None


def _detected(stored: bytes) -> tuple[str, str]:
    """The one encoding in which the bytes are words of a known language, if the detector does not object.

    Code pages share most of their letters. Of two that give different words, one must have at least three times as
    many common words of its language as the other.
    """
    found = sorted(_readings(stored), key=lambda each: each.words, reverse=True)
    if found and _is_certain(found) and _accepted_by_detector(stored, found[0]):
        return found[0].text, found[0].encoding
    looks = f", perhaps {' or '.join(each.encoding for each in found[:3])}" if found else ""
    known = ", ".join(ENCODINGS)
    raise UnreadableSource(f"text in another encoding than UTF-8{looks}; set `encoding` to that of the files: {known}")


def _is_certain(found: list[Reading]) -> bool:
    first, others = found[0], found[1:]
    if first.encoding in _ASKED_FOR or not first.sufficient:
        return False
    return not others or 0 < first.words >= _DECISIVE * others[0].words


def _readings(stored: bytes) -> Iterator[Reading]:
    seen = set[str]()
    for encoding in _PREFERENCE:
        try:
            text = stored.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text not in seen and (reading := reading_of(text, encoding)):
            yield reading
        seen.add(text)


def _accepted_by_detector(stored: bytes, reading: Reading) -> bool:
    """Whether ``charset_normalizer`` thinks the reading possible; of a long text it is given the beginning."""
    end = stored.rfind(b"\n", 0, _DETECTED_FROM) if len(stored) > _DETECTED_FROM else len(stored)
    part = stored[: end if end > 0 else _DETECTED_FROM]
    matches = from_bytes(part, cp_isolation=[codecs.lookup(name).name for name in _PREFERENCE])
    return any(reading.text.startswith(str(match)) for match in matches)
