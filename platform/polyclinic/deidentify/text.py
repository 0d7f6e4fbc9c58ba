"""Running text without what names a patient: known names first, then labels, then what has the shape of an identifier.

No model of language is used, as none can be kept without a download. A name that no header, no column of the cohort
and no label tells, and that follows no title, stays: "seen with Smith" is not found, nor a village, an employer, a
nickname or a rare disease, nor a label that is not English.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from polyclinic.deidentify.dates import date_spans
from polyclinic.deidentify.span import GAP, Span
from polyclinic.identifiers import BLANKED, LABELS, names_nobody

_SHORT_NAME, _SHORT_NUMBER = 3, 4
_NO_NAMES = frozenset(
    (
        *("dr", "mr", "mrs", "ms", "miss", "prof", "md", "phd", "jr", "sr", "ii", "iii", "iv", "no", "not", "none"),
        *(
            "the",
            "and",
            "of",
            "von",
            "van",
            "der",
            "den",
            "de",
            "la",
            "le",
            "del",
            "di",
            "da",
            "dos",
            "el",
            "al",
            "bin",
        ),
        *("male", "female"),
    )
)
_BETWEEN = r"[\s^,._=-]{1,3}"
_BEFORE, _BEHIND = r"(?<![^\W_])", r"(?![^\W_])"
_NEXT_LABELS = frozenset(
    (
        *("dob", "d.o.b.", "mrn", "id", "age", "sex", "gender", "born", "date", "birth", "phone", "tel", "address"),
        *("seen", "admitted"),
    )
)
_UNSPACED = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_TOKEN = re.compile(r"\S+")
_MOST_WORDS = {"name": 6, "record number": 3, "telephone": 6, "date of birth": 4}

_CAPITAL = r"(?-i:[A-Z][\w'’-]{0,30}\.?)"  # noqa: RUF001
_PERSON = rf"{_CAPITAL}(?:[ \t]{_CAPITAL}|,[ \t]{_CAPITAL}){{0,3}}"
_SIGNED = (
    r"(?:electronically|digitally)?[ \t]?(?:signed|dictated|reported|transcribed|verified|approved|authenticated"
    r"|interpreted|read|reviewed|performed)(?:[ \t]by)?[ \t]?:|(?:signed|dictated|transcribed|verified|authenticated|"
    r"interpreted)[ \t]by|(?:referring|attending|ordering|consulting|requesting|reporting)[ \t]"
    r"(?:physician|doctor|radiologist|cardiologist|provider)[ \t]?:|(?:radiologist|cardiologist|physician|technologist"
    r"|sonographer|provider)[ \t]?:"
)
_ADDRESSES = {
    "e-mail": (r"\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,30}){1,4}",),
    "link": (r"\b(?:https?|ftp|file|smb)://[^\s<>\"]{1,300}", r"\bwww\.[^\s<>\"]{1,200}"),
}
_OTHERS = {
    "name": (
        r"\b[A-Z][^\W\d_]{1,40}\^[A-Z][^\W\d_]{0,40}",
        rf"\b(?:dr|mr|mrs|ms|miss|prof|professor|doctor|nurse)\b\.?[ \t]{{1,2}}({_PERSON})",
        rf"\b(?:{_SIGNED})[ \t]{{0,4}}({_PERSON})",
    ),
    "telephone": (
        r"(?<![\w.+])\+\d{1,3}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?!\w)",
        r"(?<![\w.])\(?\d{3}\)?[ ./-]{1,2}\d{3}[ .-]\d{4}(?!\d)",
        r"\b(?:tel|phone|fax|pager|mobile|cell|ext)\b\.?[ \t]?:?[ \t]?(\+?[\d(][\d ()./-]{2,20}\d)",
        r"(?<![\w.])0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,6}(?!\d)",
    ),
    "number": (
        r"(?<![\d.])\d{3}-\d{2}-\d{4}(?!\d)",
        r"(?<![\w.,])[A-Z]{0,6}[-#]?\d{7,20}[A-Z]?(?![\w.]\d)",
        r"(?<![\w.])(?=(?:[A-Z-]{0,10}\d){6})[A-Z]{1,6}(?:-[A-Z\d]{1,10}){1,4}(?!\w)",
        r"(?<![\w.])\d{1,6}-\d{5,10}(?![\w-])",
        r"(?<![\w.])\d{1,20}(?:\.\d{1,20}){4,30}(?![\w.]\d)",
        r"(?<!\d)\d{3} \d{3} \d{4}(?!\d)",
    ),
    "address": (
        r"\b\d{1,5}[ \t](?-i:[A-Z])\w{1,20}(?:[ \t](?-i:[A-Z])\w{1,20}){0,2}[ \t]"
        r"(?:street|st|road|rd|avenue|ave|lane|ln|boulevard|blvd|way|court|ct|square|close|terrace)\b\.?",
        r"\b(?-i:[A-Z]{2})[ \t]\d{5}(?:-\d{4})?(?!\d)",
        r"\b(?-i:[A-Z]{1,2}\d[A-Z\d]?[ \t]\d[A-Z]{2})\b",
    ),
}


def _compiled(kinds: Mapping[str, Sequence[str]]) -> list[tuple[str, re.Pattern[str]]]:
    return [(kind, re.compile(one, re.IGNORECASE)) for kind, several in kinds.items() for one in several]


_LINKS, _PATTERNS = _compiled(_ADDRESSES), _compiled(_OTHERS)
_AGES = re.compile(
    r"(?<![\d.])(9\d|1[0-3]\d)(?=[ \t-]?(?:years?|yrs?|y[./]?o)\b)|(?<=\bage )(9\d|1[0-3]\d)(?!\d)"
    r"|(?<=\baged )(9\d|1[0-3]\d)(?!\d)|(?<=\bage: )(9\d|1[0-3]\d)(?!\d)",
    re.IGNORECASE,
)


def scrubbed(text: str, *, names: Sequence[str], days: int) -> tuple[str, Counter[str]]:
    """Text without identifiers, dates moved, ages over 89 made 90 (45 CFR 164.514(b)(2)).

    Args:
        text: of one patient.
        names: known names and numbers of that patient, as they are written in headers.
        days: by which dates move.

    Returns:
        The text, and how many stretches of each kind were exchanged.
    """
    text = unicodedata.normalize("NFC", text)
    known = [*names, *labelled_names(text)]
    found = (
        *_shapes(text, _LINKS),
        *name_spans(text, known),
        *_labelled(text),
        *date_spans(text, days),
        *_shapes(text, _PATTERNS),
        *_ages(text),
    )
    kept = _apart(found, len(text))
    for span in reversed(kept):
        text = text[: span.start] + span.replacement + text[span.end :]
    return text, Counter(span.kind for span in kept)


def _apart(found: Iterable[Span], length: int) -> list[Span]:
    """The spans in the order of the text, the earlier found first; of one that overlaps, what is left is a gap."""
    taken, kept = bytearray(length), list[Span]()
    for span in found:
        if not any(taken[span.start : span.end]):
            kept.append(span)
        else:
            free = re.finditer(b"\0+", bytes(taken[span.start : span.end]))
            kept += [Span(span.start + run.start(), span.start + run.end(), span.kind) for run in free]
        taken[span.start : span.end] = b"\1" * (span.end - span.start)
    joined: list[Span] = []
    for span in sorted(kept):
        if joined and joined[-1].end == span.start and joined[-1].replacement == span.replacement == GAP:
            joined[-1] = joined[-1]._replace(end=span.end)
        elif span.end > span.start:
            joined.append(span)
    return joined


def labelled_names(text: str) -> list[str]:
    """Names that a text tells by a label, such as ``Patient name: ...``."""
    return [text[span.start : span.end] for span in _labelled(text) if span.kind == "name"]


def name_spans(text: str, names: Iterable[str]) -> Iterator[Span]:
    """Where known names stand: whole in any punctuation, then each of their words.

    Words of up to three letters must be written as names are, as *An* is a name and *an* is none.
    """
    for pattern in _known(names):
        for match in pattern.finditer(text):
            yield Span(*match.span(), "name")


def _known(names: Iterable[str]) -> list[re.Pattern[str]]:
    """Patterns of names and their words; of what has a digit, which may hold words of any kind, the whole alone."""
    whole, words, numbers, unspaced = set[tuple[str, ...]](), set[str](), set[str](), set[tuple[str, ...]]()
    # One person in several scripts: PS3.5 section 6.2.1.
    for name in (part for several in names for part in several.split("=")):
        for written in {unicodedata.normalize("NFC", name).strip(), _without_accents(name).strip()}:
            if any(map(str.isdigit, written)):
                numbers.add(written)
                continue
            if _UNSPACED.search(written):
                unspaced |= {_unspaced(written), _unspaced(written)[::-1]}
                continue
            parts = tuple(part for part in re.split(r"[\s^,=;\\._-]+", written) if part)
            if len(parts) > 1 and sum(map(len, parts)) > _SHORT_NAME:
                whole |= {parts, parts[::-1]}
            words.update(part for part in parts if len(part) > 1 and part.casefold() not in _NO_NAMES)
    phrases = [_BETWEEN.join(map(re.escape, parts)) for parts in sorted(whole, key=len, reverse=True)]
    phrases += [re.escape(number) for number in sorted(numbers) if len(number) >= _SHORT_NUMBER]
    phrases += [re.escape(word) for word in sorted(words, key=len, reverse=True) if len(word) > _SHORT_NAME]
    short = [form for word in sorted(words) if len(word) <= _SHORT_NAME for form in {word.upper(), word.capitalize()}]
    return [
        *(re.compile(r"[\s^,._-]{0,3}".join(parts)) for parts in unspaced if len("".join(parts)) > 1),
        *(re.compile(_BEFORE + phrase + _BEHIND, re.IGNORECASE) for phrase in phrases),
        *(re.compile(_BEFORE + re.escape(form) + _BEHIND) for form in short),
    ]


def _unspaced(name: str) -> tuple[str, ...]:
    """Parts of a name in a script without spaces, in which a text may write them together."""
    return tuple(map(re.escape, filter(None, re.split(r"[\s^,._-]+", name))))


def _without_accents(name: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", name) if not unicodedata.combining(sign))


def _labelled(text: str) -> Iterator[Span]:
    """What stands behind a label, as far as it seems to go."""
    for kind, pattern in LABELS.items():
        for match in pattern.finditer(text):
            for group in range(1, len(match.groups()) + 1):
                value = match[group]
                if value is None or BLANKED.match(value.strip()) or names_nobody(value.strip().partition("  ")[0]):
                    continue
                start = match.start(group) + len(value) - len(value.lstrip())
                length = _reach(value.strip(), _MOST_WORDS.get(kind))
                yield Span(start, start + length, "name" if kind == "name" else "number" if "number" in kind else kind)


def _reach(value: str, most: int | None) -> int:
    """Characters that belong to a label: until the next label, a wide space, or enough words."""
    value = value.partition("  ")[0].partition("\t")[0]
    end = 0
    for count, word in enumerate(_TOKEN.finditer(value)):
        if count and (count == most or ":" in word[0] or "=" in word[0] or word[0].casefold() in _NEXT_LABELS):
            break
        end = word.end()
        if most and len(word[0]) > 3 and word[0].endswith("."):
            break
    return end


def _shapes(text: str, patterns: Iterable[tuple[str, re.Pattern[str]]]) -> Iterator[Span]:
    for kind, pattern in patterns:
        for match in pattern.finditer(text):
            group = 1 if pattern.groups and match[1] is not None else 0
            yield Span(*match.span(group), kind)


def _ages(text: str) -> Iterator[Span]:
    return (Span(*match.span(), "age", "90") for match in _AGES.finditer(text) if int(match[0]) > 89)


__all__ = ["GAP", "labelled_names", "name_spans", "scrubbed"]
