"""Find the encoding of a table that is not UTF-8, where only one gives plausible text.

A wrong encoding of the same family changes letters, and with them ids and groups, without an error. The bytes of
``Gr\\xf6\\xdfe`` are the same word in all encodings in which they are words; ``caf\\xe8`` is French in cp1252 and has a
Czech letter in cp1250, and is refused.
"""

import re
from itertools import pairwise

_ENCODINGS = ("cp1252", "cp1250", "cp1254", "cp1257", "mac_roman", "cp850", "cp852", "iso8859_2")
"""Encodings with Latin letters that Excel and older systems write; those of Windows include ISO 8859-1, -9 and -13."""

_ALPHABETS = (
    "äöüßé",  # German
    "àâæçéèêëîïôœùûüÿ",  # French
    "áéíóúüñªº",  # Spanish
    "áâãàçéêíóôõúüªº",  # Portuguese
    "àèéìîòóùªº",  # Italian
    "àçéèíïòóúü",  # Catalan
    "áéèêëïíóöúü",  # Dutch
    "æøåéèòôäö",  # Danish, Norwegian
    "åäöéü",  # Swedish, Finnish
    "áéíóúýþðæö",  # Icelandic
    "ąćęłńóśźż",  # Polish
    "áčďéěíňóřšťúůýž",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "áéíóöőúüű",  # Hungarian
    "čšžćđ",  # Slovene, Croatian
    "ăâîșțşţ",  # Romanian
    "âçğıîöşüû",  # Turkish
    "ąčęėįšųūž",  # Lithuanian
    "āčēģīķļņšūž",  # Latvian
    "äõöüšž",  # Estonian
)
_OPENING, _CLOSING = "\u2018\u201c", "\u201d\u2026\u20ac\u2122"
"""Opening quotation marks, and signs that end a word: a closing mark, an ellipsis, the euro and the trademark."""

_SIGNS = frozenset("°µ²³±\xa0\u2019\u2022\u2013\u2014" + _OPENING + _CLOSING)
# Western text has one or two accented letters in a row; words in another alphabet have longer runs of high bytes.
_FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3}")
_LETTER = r"[^\W\d_]"
_ACCENTED = r"(?![a-zA-Zªºµ])[^\W\d_]"
_ODD = re.compile(rf"{_LETTER}[°²³±]{_LETTER}|(?<!m)³|\d{_ACCENTED}|{_LETTER}[{_OPENING}]|[{_CLOSING}]{_LETTER}")


def certain_encoding(content: bytes) -> str:
    """Return the encoding of a text that is not UTF-8; empty where none or several texts are plausible.

    A text is plausible if one language has all of its letters beyond ASCII, signs such as the degree are not within
    words, and no capital follows a lower-case letter where one of the two is not ASCII.
    """
    if _FOREIGN_RUN.search(content) or b"\0" in content:
        return ""
    texts: dict[str, str] = {}
    for encoding in _ENCODINGS:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if _is_plausible(text):
            texts.setdefault(text, encoding)
    return next(iter(texts.values())) if len(texts) == 1 else ""


def _is_plausible(text: str) -> bool:
    letters = {each.lower() for each in text if each > "\x7f"} - _SIGNS
    is_one_language = any(letters <= {*alphabet} for alphabet in _ALPHABETS)
    return is_one_language and not _ODD.search(text) and all(map(_is_regular, re.findall(r"\w*[^\x00-\x7f]\w*", text)))


def _is_regular(word: str) -> bool:
    return not any(
        former.islower() and latter.isupper() and not (former + latter).isascii() for former, latter in pairwise(word)
    )
