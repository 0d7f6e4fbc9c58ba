"""A stretch of text that may not leave, and what stands there instead."""

from typing import NamedTuple

GAP = "___"
"""As public collections write it; a label in front of it names nobody any more."""


class Span(NamedTuple):
    """From ``start`` to ``end``: a ``kind`` of identifier, and its ``replacement``."""

    start: int
    end: int
    kind: str
    replacement: str = GAP
