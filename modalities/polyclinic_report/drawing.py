"""Draw reports: the view of the service page, relevance per word, and imputed reports."""

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
_MAX_RELEVANCE_LINES = 18
_MAX_OPACITY = 0.7
_STYLE = {"family": "monospace", "fontsize": 10, "parse_math": False}


def word_relevance(
    word: Int[Tensor, " T"], relevance: Float[Tensor, " _"]
) -> tuple[Int[np.ndarray, " W"], Float[np.ndarray, " W"]]:
    """Sum the relevance of the tokens of each word.

    Args:
        word: word index of each token, increasing; -1 for markers and padding, which are left out.
        relevance: relevance of each token.

    Returns:
        Position of the last token of each word, and its relevance as a share of the largest.

    Raises:
        ValueError: the lengths differ, or the relevance cannot be drawn.
    """
    if len(word) != len(relevance):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {len(word)} for this report; pass a row of "
            "`token_relevance` of the same batch"
        )
    numbers = word.cpu().numpy()
    places = np.flatnonzero(numbers >= 0)
    _, first, count = np.unique(numbers[places], return_index=True, return_counts=True)
    # Normalising before the sum as well prevents an overflow.
    shares = relative_relevance(relevance)[places]
    total = np.array([shares[start : start + size].sum() for start, size in zip(first, count, strict=True)])
    return places[first + count - 1], total / max(total.max(initial=0.0), np.finfo(np.float64).tiny)


def draw_words(words: Sequence[str], strength: Float[np.ndarray, " W"], axes: Axes) -> None:
    """Draw words in lines, on backgrounds whose opacity is their relevance.

    If the text has too many lines, the most relevant ones are drawn, with dots for the others.

    Args:
        words: words and punctuation, each with its leading space, if any.
        strength: relevance of each word, from 0 to 1.
        axes: Matplotlib axes.
    """
    axes.set_axis_off()
    if not words:
        return
    lines = _lines(words)
    total = [float(strength[line].sum()) for line in lines]
    shown_lines = sorted(np.argsort(-np.array(total), kind="stable")[:_MAX_RELEVANCE_LINES].tolist())
    rows: list[Artist] = []
    before = -1
    for number in shown_lines:
        if number != before + 1:
            rows.append(TextArea("...", textprops=_STYLE))
        rows.append(_row([words[place] for place in lines[number]], strength[lines[number]]))
        before = number
    if before != len(lines) - 1:
        rows.append(TextArea("...", textprops=_STYLE))
    box = VPacker(children=rows, align="left", pad=0, sep=3.5)
    axes.add_artist(AnchoredOffsetbox(loc="upper left", child=box, frameon=False, pad=0, borderpad=0.2))


def _row(words: Sequence[str], strength: Float[np.ndarray, " W"]) -> HPacker:
    """Pack words side by side; spaces between words have no background."""
    parts: list[Artist] = []
    for place, (word, weight) in enumerate(zip(words, strength, strict=True)):
        if place and word.startswith(" "):
            parts.append(TextArea(" ", textprops=_STYLE))
        background = {"facecolor": to_rgba(HEAT, float(weight) * _MAX_OPACITY), "edgecolor": "none", "pad": 0.8}
        parts.append(TextArea(word.strip(), textprops={**_STYLE, "bbox": background}))
    return HPacker(children=parts, align="baseline", pad=0, sep=0)


def _lines(words: Sequence[str]) -> list[list[int]]:
    """Return the indices of the words of each line; punctuation stays with the preceding word."""
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


_FONT_SIZE, _FEWEST = 6.0, 4
_CHARACTER_WIDTH, _LINE_HEIGHT = 0.62, 1.4
"""Size of a monospaced character as a share of the font size, with room to spare."""

_WARNING = (
    "SYNTHETIC: predicted by a model from other modalities, not written by a person. Each word is the most probable "
    "at its position, independently of the others: read a list of words, not sentences."
)


def draw_text(text: str, axes: Axes) -> None:
    """Draw as many lines of a report as fit into the axes."""
    box, points = axes.get_window_extent(), 72 / axes.figure.dpi
    characters, rows = (
        max(_FEWEST, int(points * side / (size * _FONT_SIZE)))
        for side, size in ((box.width, _CHARACTER_WIDTH), (box.height, _LINE_HEIGHT))
    )
    lines = textwrap.wrap(text, characters)
    shown = [*lines[: rows - 1], "..."] if len(lines) > rows else lines
    axes.text(
        0.02, 0.98, "\n".join(shown), va="top", family="monospace", fontsize=_FONT_SIZE, linespacing=1.1,
        transform=axes.transAxes,
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def write_text(text: str, path: Path) -> Path:
    """Write a text file that starts with a warning that it is synthetic."""
    target = path.with_name(f"{path.name}.txt")
    target.write_text(f"{_WARNING}\n\n{text}\n", encoding="utf-8")
    return target


_WORD = re.compile(r"\s*\S+")
_PARTS = {"all": "complete report", "missing": "complete report, because it lacks the section"}


def view_text(raw: Document, read: int | None) -> Words:
    """Return the view of the chosen section.

    Args:
        raw: decoded report.
        read: number of words, from the first, that the encoder reads; None before ``fit``.
    """
    words = tuple(_WORD.findall(raw.text))
    section = str(raw.facts["section"])
    part = _PARTS.get(section, f"section {section}")
    cut = "" if read is None or read >= len(words) else f", of which the model reads the first {read}"
    return Words(words=words, caption=f"{part}, {len(words)} words{cut}")


def words_of_tokens(text: str, joined: str, ends: Sequence[int]) -> Int[np.ndarray, " T"]:
    """Return the index of the word in which each token ends.

    Args:
        text: text as written.
        joined: tokenised text, which differs in white space only.
        ends: end of each token in ``joined``, above 0.
    """
    lengths = [len(word) for word in text.split()]
    word_of_character = np.repeat(np.arange(len(lengths)), lengths)
    characters_before = np.cumsum([0, *(not character.isspace() for character in joined)])
    # A token of white space belongs to the following word.
    starts = characters_before[np.asarray(ends, dtype=np.int64) - 1]
    return word_of_character[np.minimum(starts, len(word_of_character) - 1)]


def locate_words(
    relevance: Float[Tensor, " _"], word: Int[np.ndarray, " T"], marker: Sequence[bool], words: int
) -> OnWords:
    """Sum the relevance of the tokens of each word, as a share of the largest sum, without markers.

    Args:
        relevance: relevance of each token.
        word: word index of each token.
        marker: whether each token is a marker.
        words: number of words.

    Raises:
        ValueError: the lengths differ, or the relevance cannot be drawn.
    """
    if len(relevance) != len(word):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {len(word)} for this report; pass a row of "
            "`token_relevance` of this study alone"
        )
    shares = np.where(marker, 0.0, relative_relevance(relevance))
    total = np.bincount(word, weights=shares, minlength=words)
    return OnWords(strength=total / max(total.max(initial=0.0), np.finfo(np.float64).tiny))
