"""Which words of a report a score comes from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from torch import Tensor

from polyclinic.modality import HEAT, relative_relevance

_WIDTH = 52
_LINES = 18
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
    kept = sorted(np.argsort(-np.array(total), kind="stable")[:_LINES].tolist())
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
    width = _WIDTH
    for place, word in enumerate(words):
        free = word.startswith(" ") or any(letter.isalnum() for letter in word)
        if not lines or (free and width + len(word) > _WIDTH):
            lines.append([])
            width = 0
        lines[-1].append(place)
        width += len(word)
    return lines
