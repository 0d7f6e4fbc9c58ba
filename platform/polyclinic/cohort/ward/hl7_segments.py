"""Split files of HL7 v2 messages into segments, fields and components, as MSH-1 and MSH-2 of each message say.

``hl7apy`` checks the header and parses times. Its objects of segments take 2 ms each, 25 times as long as reading a
result here, so that they are the second implementation in the tests instead.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hl7apy.exceptions import HL7apyException
from hl7apy.parser import get_message_info

from polyclinic.cohort.ward.left_out import NotUsed
from polyclinic.modality import Delimiters, unescape_hl7

_START = re.compile(rb"(?:^|(?<=[\r\n\x0b\x1c]))MSH(?=[^\w\s])")
_FRAMING = re.compile(rb"[\r\n]+")
_BATCH = frozenset({"FHS", "BHS", "BTS", "FTS"})
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_CODECS = {
    "": "ascii",
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 12), 13, 14, 15, 16)},
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
}
"""Codecs by MSH-18 (HL7 table 0211) where bytes below 128 are ASCII."""

_MIN_DELIMITERS = 4


class Segment(NamedTuple):
    """One segment.

    Attributes:
        name: name of three letters.
        fields: fields by their number; number 0 is the name.
        delimiters: delimiters of the message.
        codec: character set of the message.
    """

    name: str
    fields: Sequence[str]
    delimiters: Delimiters
    codec: str

    def field(self, number: int) -> str:
        """Return a field as it was sent; empty where it is absent or the HL7 null."""
        value = self.fields[number] if number < len(self.fields) else ""
        return "" if value == '""' else value

    def repetitions(self, number: int) -> list[str]:
        """Return the repetitions of a field."""
        return self.field(number).split(self.delimiters.repetition)

    def components(self, number: int) -> list[str]:
        """Return the components of the first repetition of a field, without escapes."""
        return self.split(self.repetitions(number)[0])

    def component(self, number: int, place: int) -> str:
        """Return a component of the first repetition, counted from 1; empty where it is absent."""
        return component(self.components(number), place)

    def split(self, repetition: str) -> list[str]:
        """Return the components of a repetition, without escapes."""
        return [self.text(part).strip() for part in repetition.split(self.delimiters.component)]

    def text(self, value: str) -> str:
        """Replace the escape sequences of a text.

        Raises:
            UnreadableSource: a character is given by a code that the character set does not have.
        """
        return unescape_hl7(value, self.delimiters, self.codec)


def component(parts: Sequence[str], place: int) -> str:
    """Return a component, counted from 1; empty where it is absent or the HL7 null."""
    value = parts[place - 1] if place <= len(parts) else ""
    return "" if value == '""' else value


def is_hl7(head: bytes) -> bool:
    """Return whether a file starts like HL7 v2: with a message, or with a batch of them."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\x0b\r\n ")
    return re.match(rb"(?:MSH|FHS|BHS)[^\w\s]", start) is not None


def split_messages(content: bytes) -> list[bytes]:
    """Return the messages of a file, with or without the framing of MLLP and the envelope of a batch."""
    body = content.removeprefix(b"\xef\xbb\xbf")
    starts = [match.start() for match in _START.finditer(body)]
    return [body[start:end] for start, end in zip(starts, [*starts, len(body)][1:], strict=True)]


def split_segments(message: bytes) -> Iterator[Segment]:
    """Yield the segments of a message.

    Raises:
        NotUsed: delimiters are missing or repeated, a line is not a segment, or bytes are not of the declared
            character set.
    """
    lines = [line for part in _FRAMING.split(message) if (line := part.strip(b"\x0b\x1c")).strip()]
    delimiters = _delimiters(lines[0])
    codec = _codec(lines[0], delimiters, message)
    for place, line in enumerate(lines):
        try:
            text = line.decode(codec)
        except UnicodeDecodeError:
            raise NotUsed("charset", "bytes that are not of the character set in MSH-18") from None
        fields = text.split(delimiters.field)
        name = fields[0]
        if name in _BATCH:
            continue
        if not _SEGMENT.fullmatch(name):
            raise NotUsed("broken", f"line {place + 1} of the message does not start with the name of a segment")
        if name == "MSH":  # MSH-1 is the delimiter between its name and MSH-2
            fields = [name, delimiters.field, *fields[1:]]
        yield Segment(name, fields, delimiters, codec)


def _delimiters(header: bytes) -> Delimiters:
    try:
        text = header.decode("latin-1")
        get_message_info(text)
    except (HL7apyException, IndexError, ValueError):
        raise NotUsed("broken", "MSH-2 does not hold four different delimiters") from None
    field = text[3]
    signs = text[4:].split(field)[0][:_MIN_DELIMITERS]
    if len({field, *signs}) != 1 + _MIN_DELIMITERS or any(sign.isalnum() or sign.isspace() for sign in signs):
        raise NotUsed("broken", "MSH-2 does not hold four different delimiters")
    return Delimiters(field, *signs)


def _codec(header: bytes, delimiters: Delimiters, message: bytes) -> str:
    fields = header.decode("latin-1").split(delimiters.field)
    declared = fields[17].strip() if len(fields) > 17 else ""
    if message.isascii():
        return "ascii"
    names = [name.strip().upper() for name in declared.split(delimiters.repetition)]
    if not declared and _is_utf8(message):  # no text of another character set is valid UTF-8 by accident
        return "utf-8"
    codec = _CODECS.get(names[0]) if len(names) == 1 else None
    if codec is None:
        raise NotUsed("charset", "a character set in MSH-18 that is not read, or several of them")
    return codec


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
