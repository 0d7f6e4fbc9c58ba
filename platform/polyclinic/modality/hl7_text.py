"""Delimiters and escape sequences of HL7 v2 text (section 2.7)."""

import re
from typing import NamedTuple

from polyclinic.modality.contract import UnreadableSource

_SEQUENCE = re.compile(r"\\([^\\]{0,200})\\")
_SHIFTS = ("C", "M", "Z")


class Delimiters(NamedTuple):
    """Delimiters of a message, as MSH-1 and MSH-2 state them."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


def unescape_hl7(value: str, delimiters: Delimiters, codec: str | None = None) -> str:
    """Replace escape sequences by delimiters, line ends and characters; highlighting is dropped.

    Args:
        value: text of a component.
        delimiters: delimiters of the message.
        codec: character set of bytes in hexadecimal; None where it is unknown.

    Raises:
        UnreadableSource: a character is given by code in an unknown character set, or by a sequence of the sender.
    """
    field, component, repetition, escape, subcomponent = delimiters
    signs = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": escape, ".br": "\n", ".sp": "\n"}
    if escape not in value:
        return value
    if escape != "\\":
        # A backslash of the text is protected first, as it would start a sequence.
        value = value.replace("\\", "\0").replace(escape, "\\")

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code[:1] == "X" and codec is not None:
            return _of_bytes(code[1:], codec)
        if code[:1] in ("X", *_SHIFTS) and code:
            raise UnreadableSource("HL7 v2 text with characters given by their codes; export it without escapes")
        return signs.get(code, signs.get(code.rstrip("+0123456789"), ""))

    return _SEQUENCE.sub(replace, value).replace("\0", "\\")


def _of_bytes(digits: str, codec: str) -> str:
    try:
        return bytes.fromhex(digits).decode(codec)
    except (ValueError, UnicodeDecodeError):
        raise UnreadableSource("HL7 v2 text with a character code that its character set does not have") from None
