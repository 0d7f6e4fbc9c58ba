"""Words drawn into the pixels of a radiograph, suspected from how letters look and stand."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

_LETTERS = 4
_SIDES = (1500, 1000)
_CONTRAST = 0.2
_NEIGHBOURHOOD = 30
_LOWEST, _LARGEST_SHARE = 6, 0.06
_WIDEST, _FULLEST_GAP, _LONGEST_GAP = 1.5, 0.3, 1.2
_INK = 0.2
_PLAIN_GROUND, _PLAIN_INK = 0.06, 0.1
_RING, _LEAST_GROUND = 3, 8


class _Mark(NamedTuple):
    """A small connected stroke: its box in pixels, and how bright it is."""

    top: int
    bottom: int
    left: int
    right: int
    brightness: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def suspect_words(pixels: Float[np.ndarray, "H W"]) -> bool:
    """Whether a row of marks looks like a word: at least four, of one height, on one line, of one even shade.

    A mark is a connected region that stands out of its even surroundings by a fifth of the range, brighter or darker,
    between 6 pixels and 6 % of the shorter side high. Images with a shorter side of 2000 pixels and more are looked at
    averaged to about 1000 as well, those of 3000 and more averaged only. Of 55 public radiographs from clinical
    practice, 29 with words and 26 without (a side marker alone is no word), this suspects 17 and none. It misses words
    of fewer than four letters, letters that touch, words across anatomy, upright ones, faint ones and those of a
    joined script: an image that is not suspected may still name a patient, so this is a warning to look, never a
    clearance.

    Args:
        pixels: in [0, 1].
    """
    side = min(pixels.shape)
    return any(_has_word(_reduced(pixels, factor)) for factor in sorted({max(1, side // most) for most in _SIDES}))


def _has_word(pixels: Float[np.ndarray, "H W"]) -> bool:
    size = max(9, min(pixels.shape) // _NEIGHBOURHOOD) | 1
    around = ndimage.uniform_filter(pixels, size, mode="nearest")
    return any(
        _longest_line(_marks(values, values > ground + 0.6 * _CONTRAST)) >= _LETTERS
        for values, ground in ((pixels, around), (1 - pixels, 1 - around))
    )


def _reduced(pixels: Float[np.ndarray, "H W"], factor: int) -> Float[np.ndarray, "h w"]:
    """Means of squares of ``factor`` pixels; what does not fill a square at the right and at the bottom is left out."""
    if factor == 1:
        return pixels
    rows, columns = (length // factor for length in pixels.shape)
    whole = pixels[: rows * factor, : columns * factor]
    return whole.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype=np.float32)


def _marks(pixels: Float[np.ndarray, "H W"], standing_out: Bool[np.ndarray, "H W"]) -> list[_Mark]:
    labels, _ = ndimage.label(standing_out)
    highest = max(2 * _LOWEST, _LARGEST_SHARE * min(pixels.shape))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not (_LOWEST <= height <= highest and 2 <= width <= _WIDEST * height + 2):
            continue
        around = tuple(slice(max(0, part.start - _RING), part.stop + _RING) for part in (rows, columns))
        brightness = _letter(pixels[around], labels[around], number, _INK * height * width)
        if brightness is not None:
            found.append(_Mark(rows.start, rows.stop, columns.start, columns.stop, brightness))
    return found


def _letter(patch: Float[np.ndarray, "h w"], labels: Int[np.ndarray, "h w"], number: int, least: float) -> float | None:
    """The brightness of a mark that is drawn in one shade on an even ground; None for anything else."""
    own = labels == number
    ink = patch[own]
    # The cheap questions first: most marks of an X-ray fail them.
    if len(ink) < least or ink[ink >= np.median(ink)].std() > _PLAIN_INK:
        return None
    near, far = (ndimage.binary_dilation(own, iterations=reach) for reach in (1, _RING))
    ground = patch[far & ~near & (labels == 0)]
    if len(ground) < _LEAST_GROUND:
        return None
    level, brightness = np.median(ground), float(np.percentile(ink, 75))
    even = np.median(np.abs(ground - level)) <= _PLAIN_GROUND
    return brightness if even and brightness - level >= _CONTRAST else None


def _longest_line(marks: list[_Mark]) -> int:
    """How many marks follow each other from left to right on one line, at most."""
    ordered = sorted(marks, key=lambda mark: mark.left)
    used: set[int] = set()
    longest = 0
    for start in range(len(ordered)):
        if start in used:
            continue
        line, follower = [start], _follower(ordered, start)
        while follower is not None:
            line.append(follower)
            follower = _follower(ordered, follower)
        used.update(line)
        longest = max(longest, len(line))
    return longest


def _follower(ordered: list[_Mark], place: int) -> int | None:
    """The next letter: beside this one, on its base line, about as high and as bright."""
    mark = ordered[place]
    for other in range(place + 1, len(ordered)):
        gap = ordered[other].left - mark.right
        if gap > _LONGEST_GAP * mark.height:
            return None
        if gap >= -_FULLEST_GAP * mark.height and _alike(mark, ordered[other]):
            return other
    return None


def _alike(one: _Mark, other: _Mark) -> bool:
    on_line = abs(other.bottom - one.bottom) <= max(1.5, 0.2 * one.height)
    return on_line and 0.65 <= other.height / one.height <= 1.55 and abs(other.brightness - one.brightness) < 0.12
