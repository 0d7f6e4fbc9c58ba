"""Find names that no header gives by their context: titles, labels, signatures, verbs, given names.

No model is used here. A surname alone, without context that shows a person, is not found.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from polyclinic.privacy import lexicon
from polyclinic.privacy.names import folded
from polyclinic.privacy.span import GAP, Span
from polyclinic.privacy.words import ACRONYMS, BRIDGES, words
from polyclinic.privacy.words import TITLES as TITLE_WORDS

TITLED, LABELLED, SIGNED, BY_CONTEXT = "titled name", "labelled name", "signed name", "name by context"
_MOST_WORDS = 4
_WORD = re.compile(r"(?:[dlDL]['’])?[^\W\d_]+(?:['’\-‐‑][^\W\d_]+)*")  # noqa: RUF001
_SPACE = re.compile(r"[ \t\u00a0\u202f]{1,2}|(?<=\.)")
_POSSESSIVE = re.compile("['’][sS]?$")  # noqa: RUF001
_COMMA = re.compile(r",[ \u00a0]?")
_ENDING = re.compile(rf"\w{{2,}}{lexicon.MEDICAL_ENDING}")
_BEFORE_EPONYMS = re.compile(r"(?:m\.|selon|según|laut|per|according|nach|secondo)", re.IGNORECASE)
_AND = re.compile(r"[ \u00a0](?:and|und|et|y|e|&)[ \u00a0]|,[ \u00a0]?(?:and[ ])?")
_TITLE = rf"(?:(?:{lexicon.TITLES})(?![^\W\d_])\.?|(?-i:{lexicon.TITLES_AS_WRITTEN})(?![^\W\d_]))"
_TITLE_RUN = re.compile(rf"(?:{_TITLE}[ \u00a0]?)+", re.IGNORECASE)
_INTRODUCED = tuple(
    (kind, re.compile(rf"(?<![^\W_])(?:{pattern})", re.IGNORECASE | re.MULTILINE))
    for kind, pattern in (
        (TITLED, rf"{_TITLE}(?:[ \u00a0]?{_TITLE}|[ ](?:med|univ|dent|habil|rer|nat|phil)\.)*[ \u00a0]?"),
        (LABELLED, rf"(?:{lexicon.LABELS})\b[ \u00a0]{{0,2}}[:=][ \u00a0]{{0,4}}"),
        (SIGNED, rf"(?:{lexicon.SIGNED})(?![^\W\d_])[,:.]?\s{{1,3}}"),
        (BY_CONTEXT, rf"(?:{lexicon.CUES})[ \u00a0:]{{1,2}}"),
        (BY_CONTEXT, rf"(?:{lexicon.KIN})(?:[ ]of[ ]the[ ]patient|[ ]des[ ]Patienten|[ ]der[ ]Patientin)?[,:]?[ ]"),
    )
)
_SUBJECT = re.compile(rf"[ \u00a0](?:{lexicon.PERSON_VERBS})(?![^\W\d_])", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:^|(?<=[.!?:;][ \u00a0])|(?<=\n))(?=[^\W\d_])")
_CAPITALISED = r"(?-i:[A-ZÀ-ÖØ-ÞĀ-Ž][\w'’\-]*\.?)"  # noqa: RUF001
_WITH_DEGREE = re.compile(
    rf"(?<![^\W_])((?:{_CAPITALISED}[ \u00a0]){{0,3}}{_CAPITALISED}),?[ \u00a0](?:{lexicon.DEGREES})(?!\w)"
)


def context_spans(text: str) -> Iterator[Span]:
    """Yield names by their context, the most certain rule first."""
    style = _style(text)
    for kind, pattern in _INTRODUCED:
        for match in pattern.finditer(text):
            yield from _people(text, match, kind, style)
    for match in _WITH_DEGREE.finditer(text):
        if (end := _person(text, match.start(1), style)) is not None:
            yield Span(match.start(1), end, SIGNED)
    yield from _given(text, style)
    yield from _subjects(text, style)


def _style(text: str) -> str:
    """Return the case of a text: ``upper`` or ``lower`` where it has no other letters, else ``mixed``."""
    letters = [sign for sign in text if sign.isalpha()]
    if len(letters) > 3 and all(sign.isupper() for sign in letters):
        return "upper"
    return "lower" if letters and not any(sign.isupper() for sign in letters) else "mixed"


def _people(text: str, match: re.Match[str], kind: str, style: str) -> Iterator[Span]:
    """Yield the people after an introduction; several after a plural title, as in ``Drs A and B``."""
    if match[0].strip() in ("MR", "MS", "FR", "PR", "SR") and style != "upper":
        return
    start = match.end()
    titles = _TITLE_RUN.match(text, start)
    start = titles.end() if titles else start
    plural = re.match(r"(?:drs|dres|mm|sres|herren|messrs)", match[0], re.IGNORECASE) is not None
    for _ in range(_MOST_WORDS):
        end = _person(text, start, style, eponyms=not _BEFORE_EPONYMS.match(match[0]), comma=kind == LABELLED)
        if end is None:
            return
        yield Span(start, end, kind)
        joined = _AND.match(text, end)
        if not plural or joined is None:
            return
        start = joined.end()


def _person(text: str, start: int, style: str, *, eponyms: bool = True, comma: bool = False) -> int | None:
    """Return the end of a name that starts at a position; None where there is none.

    Args:
        text: text to search.
        start: position of the first letter.
        style: result of ``_style``.
        eponyms: whether an eponym may be a person here; after ``M.`` or *selon* it is a disease or a method.
        comma: whether a first name may follow after a comma.
    """
    place, end, count = start, None, 0
    while count < (_MOST_WORDS if style == "mixed" else 2):
        word = _WORD.match(text, place)
        if word is None:
            break
        forms = folded(word[0])
        if forms & BRIDGES and style == "mixed" and not (end and word[0][0].isupper()):
            place = _after(text, word.end())
            continue
        if not _is_name(word[0], style) or (not eponyms and forms & lexicon.EPONYMS):
            break
        length = len(_POSSESSIVE.sub("", word[0]))
        initial = len(word[0]) == 1 and text[word.end() : word.end() + 1] == "."
        end, count = word.start() + length + initial, count + 1
        separator = _SPACE.match(text, end) or (_COMMA.match(text, end) if comma and count == 1 else None)
        if separator is None:
            break
        place = separator.end()
    return end


def _after(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _is_name(word: str, style: str) -> bool:
    """Return whether a word may be a name: capitalised in a text with mixed case, and not a known other word."""
    if style == "mixed" and not (word[0].isupper() or word[:2] in ("d'", "d’", "l'")):  # noqa: RUF001
        return False
    if style == "mixed" and word.isupper() and 1 < len(word) < 4:
        return False
    return not _is_another_word(word)


@lru_cache(maxsize=1 << 14)
def _is_another_word(word: str) -> bool:
    pieces = re.split(r"[-‐‑]", word)  # noqa: RUF001
    last = folded(pieces[-1])
    if any(_ENDING.fullmatch(form) for form in last):
        return True
    known = lexicon.NO_NAMES | ACRONYMS | TITLE_WORDS
    return any(folded(piece) & known for piece in pieces if len(piece) > 1)


def _given(text: str, style: str) -> Iterator[Span]:
    """Yield people by a frequent given name."""
    if style != "mixed":
        return
    for word in _WORD.finditer(text):
        first = re.split(r"[-‐‑]", word[0])[0]  # noqa: RUF001
        if first[0].isupper() and folded(first) & lexicon.GIVEN and (end := _person(text, word.start(), style)):
            behind = _WORD.match(text, _after(text, end))
            thing = behind is not None and folded(behind[0]) & _THINGS
            before = text[: word.start()].rstrip().rpartition(" ")[2]
            if not thing and not folded(before or "x") & _PLACES:
                yield Span(word.start(), end, BY_CONTEXT)


def _subjects(text: str, style: str) -> Iterator[Span]:
    """Yield people at the beginning of a sentence, before a verb that only people take."""
    if style != "mixed":
        return
    for match in _SENTENCE.finditer(text):
        end = _person(text, match.start(), style)
        if end is not None and _SUBJECT.match(text, end):
            yield Span(match.start(), end, BY_CONTEXT)


_THINGS = words(
    "syndrome syndrom disease sign test splint tube catheter line criteria score scale index lymphoma hernia fracture",
    "hospital street road",
)
_PLACES = words("st saint san santa sankt hospital morbus klinikum hopital")

__all__ = ["BY_CONTEXT", "GAP", "LABELLED", "SIGNED", "TITLED", "context_spans"]
