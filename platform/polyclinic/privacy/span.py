"""A stretch of text that may not leave, and what stands there instead."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

GAP = "___"
"""As public collections write it; a label in front of it names nobody any more."""


class Span(NamedTuple):
    """From ``start`` to ``end``: a ``kind`` of identifier, and its ``replacement``."""

    start: int
    end: int
    kind: str
    replacement: str = GAP


_AROUND = 50


def windows(mark: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Stretches around whatever every match of some patterns holds, as looking everywhere costs ten times as much."""
    found = list[tuple[int, int]]()
    for match in mark.finditer(text):
        start, end = max(0, match.start() - _AROUND), min(len(text), match.end() + _AROUND)
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def matches(pattern: re.Pattern[str], text: str, within: Sequence[tuple[int, int]]) -> Iterator[re.Match[str]]:
    """The matches of a pattern inside of stretches of a text."""
    for start, end in within:
        yield from pattern.finditer(text, start, end)
