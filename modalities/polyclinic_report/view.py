"""What people see of a report: its words as they were written, and which of them a score comes from."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from polyclinic.modality import OnWords, Words, relative_relevance
from polyclinic_report.document import Document

_WORD = re.compile(r"\s*\S+")
_PARTS = {"all": "whole report", "missing": "whole report, as it lacks the section"}


def view_text(raw: Document, read: int | None) -> Words:
    """Show the chosen section.

    Args:
        raw: decoded.
        read: words, from the first, of which the model reads something; None before it has a vocabulary.
    """
    words = tuple(_WORD.findall(raw.text))
    section = str(raw.facts["section"])
    part = _PARTS.get(section, f"section {section}")
    cut = "" if read is None or read >= len(words) else f", of which the model reads the first {read}"
    return Words(words=words, caption=f"{part}, {len(words)} words{cut}")


def words_of_tokens(text: str, joined: str, ends: Sequence[int]) -> Int[np.ndarray, " T"]:
    """The word that each token ends in.

    Args:
        text: as it was written.
        joined: the same signs with other white space, which is what the tokens are of.
        ends: where each token ends in ``joined``; above 0.
    """
    lengths = [len(word) for word in text.split()]
    of_signs = np.repeat(np.arange(len(lengths)), lengths)
    signs_before = np.cumsum([0, *(not sign.isspace() for sign in joined)])
    # A token that is nothing but a space belongs to the word that follows.
    return of_signs[np.minimum(signs_before[np.asarray(ends, dtype=np.int64) - 1], len(of_signs) - 1)]


def locate_words(
    relevance: Float[Tensor, " _"], word: Int[np.ndarray, " T"], marker: Sequence[bool], words: int
) -> OnWords:
    """Sum the relevance of the tokens of each word, as a share of the largest sum; markers are no words.

    Args:
        relevance: of each token.
        word: that each token is of.
        marker: whether a token stands for no text.
        words: how many there are.

    Raises:
        ValueError: lengths differ, or a relevance that cannot be drawn.
    """
    if len(relevance) != len(word):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {len(word)} for this report; give a row of "
            "`token_relevance` of this study alone"
        )
    shares = np.where(marker, 0.0, relative_relevance(relevance))
    total = np.bincount(word, weights=shares, minlength=words)
    return OnWords(strength=total / max(total.max(initial=0.0), np.finfo(np.float64).tiny))
