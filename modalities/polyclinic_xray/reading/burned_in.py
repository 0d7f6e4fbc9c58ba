"""Words drawn into the pixels of a radiograph, found by how letters look and stand and by character recognition."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from polyclinic_xray.ocr import Box, read_words
from polyclinic_xray.radiograph import Radiograph
from polyclinic_xray.reading.renderings import renderings_of

_SAME_LEVELS = 12
_LETTERS = 4
_SIDES = (1500, 1000)
_CONTRAST = 0.2
_NEIGHBOURHOOD = 30
_LOWEST, _LARGEST_SHARE = 6, 0.06
_WIDEST, _FULLEST_GAP, _LONGEST_GAP = 1.5, 0.3, 1.2
_INK = 0.2
_PLAIN_GROUND, _PLAIN_INK = 0.06, 0.1
_RING, _LEAST_GROUND = 3, 8


class Word(NamedTuple):
    """Where a word seems to be drawn, and the rules that found it: ``strokes``, ``ocr``."""

    box: Box
    rules: frozenset[str]


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


def find_words(renderings: Iterable[Float[np.ndarray, "H W"]], *, recognise: bool = True) -> list[Word]:
    """Where words seem to be drawn in an image: what either of two rules finds in any of its renderings.

    ``strokes`` finds at least four marks of one height, on one line, of one even shade. A mark is a connected region
    that stands out of its even surroundings by a fifth of the range, brighter or darker, between 6 pixels and 6 % of
    the shorter side high. Images with a shorter side of 2000 pixels and more are looked at averaged to about 1000 as
    well, those of 3000 and more averaged only. ``ocr`` finds what ``read_words`` reads.

    Words that are faint, across anatomy, handwritten or of a script that the recognition does not know may be missed:
    an image without a find may still name a patient, so this is a warning to look, never a clearance. Measured by
    ``python -m benchmarks burned_in``.

    Args:
        renderings: of one image, in [0, 1]; one that hardly differs from an earlier one is left out.
        recognise: whether to read the image as well, which takes about a second.

    Returns:
        Boxes that do not overlap, each with the rules that found it.
    """
    words: list[Word] = []
    levels: list[UInt8[np.ndarray, "H W"]] = []
    for pixels in renderings:
        as_bytes = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        if as_bytes.min() == as_bytes.max() or any(_alike_everywhere(as_bytes, earlier) for earlier in levels):
            continue
        levels.append(as_bytes)
        words += [Word(box, frozenset({"strokes"})) for box in find_strokes(pixels)]
    boxes = read_words(levels) if recognise else []
    return merged([*words, *(Word(box, frozenset({"ocr"})) for box in boxes)])


def words_in(source: Path, raw: Radiograph, *, recognise: bool = True) -> list[Word]:
    """What ``find_words`` finds in every rendering of a file and of what was read of it.

    Raises:
        UnreadableSource: see ``read_stored``.
    """
    with warnings.catch_warnings():
        # pydicom warns of every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        return find_words(renderings_of(source, raw), recognise=recognise)


def merged(words: Iterable[Word]) -> list[Word]:
    """Words whose boxes overlap as one, found by the rules of all of them."""
    kept: list[Word] = []
    for word in words:
        while overlapping := [other for other in kept if _overlap(word.box, other.box)]:
            kept = [other for other in kept if other not in overlapping]
            word = _union([word, *overlapping])
        kept.append(word)
    return kept


def _union(words: Sequence[Word]) -> Word:
    top, bottom, left, right = zip(*(word.box for word in words), strict=True)
    box = Box(min(top), max(bottom), min(left), max(right))
    return Word(box, frozenset().union(*(word.rules for word in words)))


def _overlap(one: Box, other: Box) -> bool:
    return max(one.top, other.top) < min(one.bottom, other.bottom) and max(one.left, other.left) < min(
        one.right, other.right
    )


def _alike_everywhere(one: UInt8[np.ndarray, "H W"], other: UInt8[np.ndarray, "H W"]) -> bool:
    return int((np.maximum(one, other) - np.minimum(one, other)).max()) <= _SAME_LEVELS


def find_strokes(pixels: Float[np.ndarray, "H W"]) -> list[Box]:
    """Lines of marks that look like letters, as ``find_words`` describes, in pixels in [0, 1]."""
    side = min(pixels.shape)
    return [
        Box(*(edge * factor for edge in box))
        for factor in sorted({max(1, side // most) for most in _SIDES})
        for box in _stroke_lines(_reduced(pixels, factor))
    ]


def _stroke_lines(pixels: Float[np.ndarray, "H W"]) -> list[Box]:
    size = max(9, min(pixels.shape) // _NEIGHBOURHOOD) | 1
    around = ndimage.uniform_filter(pixels, size, mode="nearest")
    return [
        _box_around(line)
        for values, ground in ((pixels, around), (1 - pixels, 1 - around))
        for line in _lines(_marks(values, values > ground + 0.6 * _CONTRAST))
        if len(line) >= _LETTERS
    ]


def _box_around(marks: Sequence[_Mark]) -> Box:
    return Box(
        min(mark.top for mark in marks),
        max(mark.bottom for mark in marks),
        min(mark.left for mark in marks),
        max(mark.right for mark in marks),
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


def _lines(marks: list[_Mark]) -> list[list[_Mark]]:
    """Marks that follow each other from left to right on one line."""
    ordered = sorted(marks, key=lambda mark: mark.left)
    used: set[int] = set()
    lines = []
    for start in range(len(ordered)):
        if start in used:
            continue
        line, follower = [start], _follower(ordered, start)
        while follower is not None:
            line.append(follower)
            follower = _follower(ordered, follower)
        used.update(line)
        lines.append([ordered[place] for place in line])
    return lines


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
