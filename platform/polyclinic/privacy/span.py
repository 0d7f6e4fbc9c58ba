"""Spans of identifying text, and their replacements."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

GAP = "___"
"""Replacement of an identifier, as public collections write it; ``identifiers`` takes it for a blank value."""


class Span(NamedTuple):
    """A span from ``start`` to ``end``: the ``kind`` of identifier, and its ``replacement``."""

    start: int
    end: int
    kind: str
    replacement: str = GAP


_AROUND = 50


def windows(mark: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Return merged windows around the matches of a cheap pattern; searching the full text takes ten times as long."""
    found = list[tuple[int, int]]()
    for match in mark.finditer(text):
        start, end = max(0, match.start() - _AROUND), min(len(text), match.end() + _AROUND)
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def matches(pattern: re.Pattern[str], text: str, within: Sequence[tuple[int, int]]) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern inside windows of a text."""
    for start, end in within:
        yield from pattern.finditer(text, start, end)
