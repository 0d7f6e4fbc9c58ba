"""Split reports into sections, by their headings, and into sentences."""

import re
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "findings": ("findings", "finding"),
        "impression": ("impression", "impressions", "conclusion", "conclusions", "interpretation", "opinion"),
        "both": ("findings and impression", "findings/impression"),
        "other": (
            *("indication", "clinical indication", "history", "clinical history", "clinical information"),
            *("reason for exam", "reason for examination", "exam", "examination", "procedure", "technique"),
            *("comparison", "recommendation", "recommendations", "notification", "addendum", "final report"),
        ),
    }
)
_KIND_OF = MappingProxyType({name: kind for kind, names in _KINDS.items() for name in names})
_NAMES = "|".join(sorted(map(re.escape, _KIND_OF), key=len, reverse=True))
# A heading starts a line or follows a full stop; in capitals it may be anywhere, for reports stored in one line.
_HEADING = re.compile(
    rf"(?:^|(?<=[.!?])\s)[^\S\n]*(?i:({_NAMES}))\s*:|\b({_NAMES.upper()})\s*:|^[ \t]*(?i:({_NAMES}))[ \t]*$",
    re.MULTILINE,
)
_ABBREVIATION = re.compile(r"(?:^|\s)(?:[A-Za-z]|\d{1,2}|dr|mr|mrs|ms|vs|approx|e\.g|i\.e)\.$", re.IGNORECASE)
_MAX_ABBREVIATION_LENGTH = len(" approx.") + 1
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•]|\d{1,2}[.)])\s)")


def choose_section(text: str, wanted: str) -> str | None:
    """Return the bodies of all sections of one kind, or None if there is no such heading.

    Args:
        text: complete report.
        wanted: kind of section, ``"findings"`` or ``"impression"``.
    """
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    bodies = [
        text[heading.end() : end].strip()
        for heading, end in zip(headings, ends, strict=False)
        if _kind(heading) in (wanted, "both")
    ]
    return "\n\n".join(body for body in bodies if body) if bodies else None


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences and collapse white space; a heading stays with the following sentence."""
    sentences: list[str] = []
    for paragraph in _paragraphs(text):
        pending: list[str] = []
        for piece in _SENTENCE_END.split(paragraph):
            pending.append(piece)
            if not _ABBREVIATION.search(piece[-_MAX_ABBREVIATION_LENGTH:]):
                sentences.append(" ".join(pending))
                pending = []
        sentences.append(" ".join(pending))
    return [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]


def _paragraphs(text: str) -> list[str]:
    starts = [0, *(heading.start() for heading in _HEADING.finditer(text)), len(text)]
    blocks = [text[start:end] for start, end in pairwise(starts)]
    return [part for block in blocks for part in _joined_heading(_PARAGRAPH.split(block))]


def _joined_heading(parts: list[str]) -> list[str]:
    """Join a heading on a separate line to the next paragraph, so that it is not a sentence."""
    if len(parts) > 1 and _HEADING.fullmatch(parts[0].strip()):
        return [f"{parts[0]} {parts[1]}", *parts[2:]]
    return parts


def _kind(heading: re.Match[str]) -> str:
    return _KIND_OF[" ".join(next(filter(None, heading.groups())).lower().split())]
