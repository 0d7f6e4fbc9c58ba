"""Pictures of a report: the service's view, relevance per word, and imputed reports."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from torch import Tensor

from polyclinic.modality import HEAT, OnWords, Words, relative_relevance
from polyclinic_report.reading.document import Document

_RELEVANCE_WIDTH = 52
_RELEVANCE_LINES = 18
_STRONGEST = 0.7
_STYLE = {"family": "monospace", "fontsize": 10, "parse_math": False}


def word_relevance(
    word: Int[Tensor, " T"], relevance: Float[Tensor, " _"]
) -> tuple[Int[np.ndarray, " W"], Float[np.ndarray, " W"]]:
    """Sum the relevance of the tokens of each word.

    Args:
        word: of each token, numbers that rise with the text; -1 at markers and padding, which are left out.
        relevance: of each token.

    Returns:
        Where the last token of each word stands, and the word's relevance as a share of the largest.

    Raises:
        ValueError: lengths differ, or a relevance that cannot be drawn.
    """
    if len(word) != len(relevance):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {len(word)} for this report; give a row of "
            "`token_relevance` of the same batch"
        )
    numbers = word.cpu().numpy()
    places = np.flatnonzero(numbers >= 0)
    _, first, count = np.unique(numbers[places], return_index=True, return_counts=True)
    # Divided once before the sum, which cannot overflow then, and once after it.
    shares = relative_relevance(relevance)[places]
    total = np.array([shares[start : start + size].sum() for start, size in zip(first, count, strict=True)])
    return places[first + count - 1], total / max(total.max(initial=0.0), np.finfo(np.float64).tiny)


def draw_words(words: Sequence[str], strength: Float[np.ndarray, " W"], axes: Axes) -> None:
    """Draw words in lines, each on a ground that is the stronger the more relevant it is.

    Of a text of more lines than fit those of most relevance are drawn, with dots where others are left out.

    Args:
        words: and signs, each by itself, with the space ahead of it where there is one.
        strength: of each, from 0 to 1.
        axes: to draw on.
    """
    axes.set_axis_off()
    if not words:
        return
    lines = _lines(words)
    total = [float(strength[line].sum()) for line in lines]
    kept = sorted(np.argsort(-np.array(total), kind="stable")[:_RELEVANCE_LINES].tolist())
    rows: list[Artist] = []
    before = -1
    for number in kept:
        if number != before + 1:
            rows.append(TextArea("...", textprops=_STYLE))
        rows.append(_row([words[at] for at in lines[number]], strength[lines[number]]))
        before = number
    if before != len(lines) - 1:
        rows.append(TextArea("...", textprops=_STYLE))
    box = VPacker(children=rows, align="left", pad=0, sep=3.5)
    axes.add_artist(AnchoredOffsetbox(loc="upper left", child=box, frameon=False, pad=0, borderpad=0.2))


def _row(words: Sequence[str], strength: Float[np.ndarray, " W"]) -> HPacker:
    """Words side by side; a space belongs to neither of its neighbours' grounds."""
    parts: list[Artist] = []
    for place, (word, weight) in enumerate(zip(words, strength, strict=True)):
        if place and word.startswith(" "):
            parts.append(TextArea(" ", textprops=_STYLE))
        ground = {"facecolor": to_rgba(HEAT, float(weight) * _STRONGEST), "edgecolor": "none", "pad": 0.8}
        parts.append(TextArea(word.strip(), textprops={**_STYLE, "bbox": ground}))
    return HPacker(children=parts, align="baseline", pad=0, sep=0)


def _lines(words: Sequence[str]) -> list[list[int]]:
    """Which words stand on each line; a sign stays with the word ahead of it."""
    lines: list[list[int]] = []
    width = _RELEVANCE_WIDTH
    for place, word in enumerate(words):
        free = word.startswith(" ") or any(letter.isalnum() for letter in word)
        if not lines or (free and width + len(word) > _RELEVANCE_WIDTH):
            lines.append([])
            width = 0
        lines[-1].append(place)
        width += len(word)
    return lines


_WIDTH = 44
_LINES = 12
_WARNING = (
    "SYNTHETIC: predicted by a model from other modalities, never written by anyone. Each word is the likeliest at its "
    "place, whatever the others are: read a list of words, not sentences."
)


def draw_text(text: str, axes: Axes) -> None:
    """Draw the first lines of a text."""
    lines = textwrap.wrap(text, _WIDTH)
    shown = [*lines[:_LINES], "..."] if len(lines) > _LINES else lines
    axes.text(0.0, 1.0, "\n".join(shown), va="top", family="monospace", fontsize=7, transform=axes.transAxes)
    axes.set_axis_off()


def write_text(text: str, path: Path) -> Path:
    """Write a text file that starts by saying what it is."""
    written = path.with_name(f"{path.name}.txt")
    written.write_text(f"{_WARNING}\n\n{text}\n", encoding="utf-8")
    return written


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
