"""Find and replace identifying spans of a text.

Each span is counted under the rule that found it. A name that is in no header, column of the cohort or label, and that
its context does not reveal, is found only by a model (see ``Tagger``); so are villages and employers.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from polyclinic.privacy.ages import age_spans
from polyclinic.privacy.context import LABELLED, context_spans
from polyclinic.privacy.dates import date_spans
from polyclinic.privacy.identifiers import BLANKED, LABELS, names_nobody
from polyclinic.privacy.names import known_names, name_spans
from polyclinic.privacy.span import GAP, Span

TAGGED, REPEATED = "name by model", "repeated name"
Tagger: TypeAlias = Callable[[str], Iterable[tuple[int, int]]]
"""Function from a text to the start and end positions of the names in it."""

_NEXT_LABELS = frozenset(
    (
        *("dob", "d.o.b.", "mrn", "id", "age", "sex", "gender", "born", "date", "birth", "phone", "tel", "address"),
        *("seen", "admitted"),
    )
)
_TOKEN = re.compile(r"\S+")
_MOST_WORDS = {"name": 6, "record number": 3, "telephone": 6, "date of birth": 4}

_ADDRESSES = {
    "e-mail": (r"\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,30}){1,4}",),
    "link": (r"\b(?:https?|ftp|file|smb)://[^\s<>\"]{1,300}", r"\bwww\.[^\s<>\"]{1,200}"),
}
_OTHERS = {
    "name by shape": (r"\b[A-Z][^\W\d_]{1,40}\^[A-Z][^\W\d_]{0,40}",),
    "telephone": (
        r"(?<![\w.+])\+\d{1,3}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?!\w)",
        r"(?<![\w.])\(?\d{3}\)?[ ./-]{1,2}\d{3}[ .-]\d{4}(?!\d)",
        r"\b(?:tel|phone|fax|pager|mobile|cell|ext)\b\.?[ \t]?:?[ \t]?(\+?[\d(][\d ()./-]{2,20}\d)",
        r"(?<![\w.])0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,6}(?!\d)",
        r"(?<![\w.,/-])\(?0[1-9]\d{0,3}\)?[ /-]{1,3}\d{2,4}(?:[ -]\d{2,4}){1,3}(?![\d.,/]?\d)",
        r"(?<![\w.,])0\d(?:[ .-]\d\d){4}(?![.,]?\d)",
        r"(?<![\w.,])[6789]\d{2}(?:[ -]\d{3}[ -]\d{3}|(?:[ -]\d{2}){3})(?![.,]?\d)",
        r"\b(?:tél|tfno|teléfono|telefono|telefon|telefax|handy|mobil|móvil|portable|cellulare|durchwahl)\b"
        r"\.?[ \t]?:?[ \t]?(\+?[\d(][\d ()./-]{2,20}\d)",
    ),
    "number": (
        r"(?<![\d.])\d{3}-\d{2}-\d{4}(?!\d)",
        r"(?<![\w.,])[A-Z]{0,6}[-#]?\d{7,20}[A-Z]?(?![\w.]\d)",
        r"(?<![\w.])(?=(?:[A-Z-]{0,10}\d){6})[A-Z]{1,6}(?:-[A-Z\d]{1,10}){1,4}(?!\w)",
        r"(?<![\w.])\d{1,6}-\d{5,10}(?![\w-])",
        r"(?<![\w.])\d{1,20}(?:\.\d{1,20}){4,30}(?![\w.]\d)",
        r"(?<!\d)\d{3} \d{3} \d{4}(?!\d)",
        r"(?<![^\W_])[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z](?![^\W_])",
        r"(?<!\d)[12][ ]\d\d[ ](?:0[1-9]|1[0-2])[ ]\d\d[ ]\d{3}[ ]\d{3}(?:[ ]\d\d)?(?!\d)",
        r"\b(?:fall(?:nummer|-?nr)|patienten(?:nummer|-?nr|-?id)|pat\.?-?"
        r"(?:nr|id)|aktenzeichen|versicherten(?:nummer|-?nr)"
        r"|nhc|n[º°][ ]de[ ]historia|ipp|nip|numéro[ ]de[ ]dossier|dni|nie|codice[ ]fiscale)\b\.?"
        r"[ ]?[:#]?[ ]?([A-Z\d]*\d[\w/.-]{2,30}\b)",
    ),
    "address": (
        r"\b\d{1,5}[ \t](?-i:[A-Z])\w{1,20}(?:[ \t](?-i:[A-Z])\w{1,20}){0,2}[ \t]"
        r"(?:street|st|road|rd|avenue|ave|lane|ln|boulevard|blvd|way|court|ct|square|close|terrace)\b\.?",
        r"\b(?-i:[A-Z]{2})[ \t]\d{5}(?:-\d{4})?(?!\d)",
        r"(?<![^\W_])(?-i:[A-ZÄÖÜ])[\w-]{1,30}"
        r"(?:straße|strasse|str\.|weg|gasse|platz|allee|ring|damm|ufer)[ ]\d{1,4}[ ]?[a-z]?\b"
        r"(?:,?[ ](?:(?:D|A|CH)-)?\d{4,5}[ ](?-i:[A-ZÄÖÜ])[\w-]{1,30})?",
        r"(?<![^\W_])(?:wohnhaft(?:[ ]in)?|wohnt[ ]in|adresse:?)[ ](\d{4,5}[ ](?-i:[A-ZÄÖÜ])[\w-]{1,30})",
        r"(?<![\d.,])\d{1,4}(?:[ ]?(?:bis|ter))?,?[ ]"
        r"(?:rue|avenue|boulevard|place|chemin|allée|impasse|quai)[ ](?:de[ ]la[ ]|du[ ]"
        r"|des?[ ]|d['’]|l['’])?(?-i:[A-ZÀ-Ý])[\w'’-]{1,30}(?:[ ](?-i:[A-ZÀ-Ý])[\w'’-]{1,30}){0,3}"  # noqa: RUF001
        r"(?:,?[ ]\d{5}[ ](?-i:[A-ZÀ-Ý])[\w-]{1,30})?",
        r"(?<![^\W_])(?:calle|c/|avda\.?|avenida|paseo|plaza|via|viale|piazza|corso)[ ]?(?:de[ ](?:la"
        r"[ ])?|del(?:la)?[ ])?"
        r"(?-i:[A-ZÀ-Ý])[\w'’-]{1,30}(?:[ ](?-i:[A-ZÀ-Ý])[\w'’-]{1,30}){0,3},?[ ](?:n[.ºo°]*"  # noqa: RUF001
        r"[ ]?)?\d{1,4}\b(?![ ]?(?:mg|ml|cm|mm))",
        r"\b(?-i:[A-Z]{1,2}\d[A-Z\d]?[ \t]\d[A-Z]{2})\b",
    ),
}


def _compiled(kinds: Mapping[str, Sequence[str]]) -> list[tuple[str, re.Pattern[str]]]:
    return [(kind, re.compile(pattern, re.IGNORECASE)) for kind, patterns in kinds.items() for pattern in patterns]


_LINKS, _PATTERNS = _compiled(_ADDRESSES), _compiled(_OTHERS)


def scrubbed(text: str, *, names: Sequence[str], days: int, tagger: Tagger | None = None) -> tuple[str, Counter[str]]:
    """Remove identifiers from a text, shift its dates, and cap ages over 89 at 90 (45 CFR 164.514(b)(2)).

    Args:
        text: text about one patient.
        names: known names and numbers of the patient, as headers write them.
        days: shift of dates in days.
        tagger: model that finds names; None for rules only.

    Returns:
        The text, and the number of replaced spans by rule.
    """
    text = unicodedata.normalize("NFC", text)
    spans = found_spans(text, names=names, days=days, tagger=tagger)
    for span in reversed(spans):
        text = text[: span.start] + span.replacement + text[span.end :]
    return text, Counter(span.kind for span in spans)


def found_spans(text: str, *, names: Sequence[str] = (), days: int = 0, tagger: Tagger | None = None) -> list[Span]:
    """Return the spans that ``scrubbed`` replaces in an NFC text, in order and without overlaps."""
    sure, unsure = known_names(tuple(names)).spans(text)
    people = [*_labelled(text), *context_spans(text)]
    people += [Span(start, end, TAGGED) for start, end in (tagger(text) if tagger else ())]
    again, _ = known_names(tuple(_names_of(text, people))).spans(text)
    found = (
        *_shapes(text, _LINKS),
        *sure,
        *people,
        *(span._replace(kind=REPEATED) for span in again),
        *date_spans(text, days),
        *unsure,
        *_shapes(text, _PATTERNS),
        *age_spans(text),
    )
    return _apart(found, len(text))


def _apart(found: Iterable[Span], length: int) -> list[Span]:
    """Return spans in the order of the text; the rest of one that overlaps an earlier found one becomes a gap."""
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
    """Return names that a text gives by a label such as ``Patient name: ...``, a title or a signature."""
    return _names_of(text, [*_labelled(text), *context_spans(text)])


def _names_of(text: str, people: Iterable[Span]) -> list[str]:
    """Return the names in spans, without lower-case words next to capitalised ones."""
    names = dict[str, None]()
    for span in people:
        if "name" in span.kind:
            name = text[span.start : span.end]
            capital = [word for word in name.split() if not word[0].islower()]
            names[" ".join(capital) or name] = None
    return list(names)


def _labelled(text: str) -> Iterator[Span]:
    """Yield the value after each label, up to its likely end."""
    for kind, pattern in LABELS.items():
        for match in pattern.finditer(text):
            for group in range(1, len(match.groups()) + 1):
                value = match[group]
                if value is None or BLANKED.match(value.strip()) or names_nobody(value.strip().partition("  ")[0]):
                    continue
                start = match.start(group) + len(value) - len(value.lstrip())
                length = _reach(value.strip(), _MOST_WORDS.get(kind))
                called = LABELLED if kind == "name" else "number" if "number" in kind else kind
                yield Span(start, start + length, called)


def _reach(value: str, most: int | None) -> int:
    """Return the length of the value of a label: up to the next label, a wide space, or the largest number of words."""
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


__all__ = ["GAP", "Tagger", "labelled_names", "name_spans", "scrubbed"]
