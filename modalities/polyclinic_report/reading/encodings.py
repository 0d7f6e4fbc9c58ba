"""Decode report files: by a stated encoding, or by one that is detected with certainty."""

import codecs
import re
from collections.abc import Iterator
from typing import Literal, get_args

from charset_normalizer import from_bytes

from polyclinic.modality import UnreadableSource
from polyclinic_report.reading.candidates import Candidate, judge

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
"""Python names; those of Windows and East Asia include the older standards (ISO 8859-1 is in cp1252)."""

ENCODINGS: tuple[str, ...] = get_args(EncodingName)

_BYTE_ORDER_MARKS = (
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
_DECLARATION_BYTES = 4000
_DETECTOR_BYTES = 20_000
"""Bytes that the detector examines; the complete text is then decoded strictly."""

_PREFERENCE = ("cp1252", *(name for name in ENCODINGS if name not in ("cp1252", "iso2022-jp")))
_NEVER_DETECTED = frozenset({"cp437", "cp850", "cp852", "mac-roman"})
"""Encodings used only if set: code pages of DOS and Macintosh differ in accents alone."""

_DECISIVE_RATIO = 3
"""Ratio of common words by which the best candidate must exceed the next."""


def decode(stored: bytes, encoding: str | None) -> tuple[str, str]:
    """Decode by the byte order mark, as UTF-8, as declared in the document, as ``encoding``, or as detected.

    Args:
        stored: content of a file.
        encoding: encoding of files that are not UTF-8; None to detect it.

    Returns:
        The text and the name of its encoding.

    Raises:
        UnreadableSource: the bytes are not valid in the encoding, or the encoding is ambiguous.
    """
    for mark, name in _BYTE_ORDER_MARKS:
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
    """Return the encoding that XML or HTML declares; empty if none or an unknown one is declared."""
    match = _DECLARED.search(stored[:_DECLARATION_BYTES])
    if match is None:
        return ""
    name = (match[1] or match[2]).decode("ascii").lower()
    aliases = {"iso-8859-1": "cp1252", "latin1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "euc-kr": "cp949"}
    supported = {codecs.lookup(encoding).name: encoding for encoding in ENCODINGS}
    try:
        return aliases.get(name) or supported.get(codecs.lookup(name).name, "")
    except LookupError:
        return ""


def _strictly(stored: bytes, encoding: str) -> str:
    try:
        return stored.decode(encoding)
    except UnicodeDecodeError:
        raise UnreadableSource(f"bytes that are not {encoding} text; expected a text file, set `encoding`") from None


def _detected(stored: bytes) -> tuple[str, str]:
    """Decode by the only encoding in which the bytes are words of a language, if the detector accepts it.

    Code pages share most letters. Of two plausible candidates, one must have at least three times as many common words
    of its language as the other.
    """
    candidates = sorted(_candidates(stored), key=lambda candidate: candidate.words, reverse=True)
    if candidates and _is_certain(candidates) and _accepted_by_detector(stored, candidates[0]):
        return candidates[0].text, candidates[0].encoding
    names = " or ".join(candidate.encoding for candidate in candidates[:3])
    guess = f", perhaps {names}" if names else ""
    supported = ", ".join(ENCODINGS)
    raise UnreadableSource(f"text is not UTF-8{guess}; set `encoding` to that of the files: {supported}")


def _is_certain(candidates: list[Candidate]) -> bool:
    first, alternatives = candidates[0], candidates[1:]
    if first.encoding in _NEVER_DETECTED or not first.sufficient:
        return False
    return not alternatives or 0 < first.words >= _DECISIVE_RATIO * alternatives[0].words


def _candidates(stored: bytes) -> Iterator[Candidate]:
    texts = set[str]()
    for encoding in _PREFERENCE:
        try:
            text = stored.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text not in texts and (candidate := judge(text, encoding)):
            yield candidate
        texts.add(text)


def _accepted_by_detector(stored: bytes, candidate: Candidate) -> bool:
    """Return whether ``charset_normalizer`` accepts a candidate; it examines the beginning of a long text."""
    end = stored.rfind(b"\n", 0, _DETECTOR_BYTES) if len(stored) > _DETECTOR_BYTES else len(stored)
    part = stored[: end if end > 0 else _DETECTOR_BYTES]
    matches = from_bytes(part, cp_isolation=[codecs.lookup(name).name for name in _PREFERENCE])
    return any(candidate.text.startswith(str(match)) for match in matches)
