"""Find words drawn into the pixels of a radiograph, by the shape of their strokes and by character recognition."""

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

_MAX_LEVEL_DIFFERENCE = 12
"""Largest difference, of 255, at which two renderings count as the same."""

_MIN_LETTERS = 4
_REDUCED_SIDES = (1500, 1000)
_MIN_CONTRAST = 0.2
_NEIGHBOURHOODS_PER_SIDE = 30
_MIN_HEIGHT, _MAX_HEIGHT_SHARE = 6, 0.06
# Relative to the height of a letter.
_MAX_WIDTH, _MAX_OVERLAP, _MAX_GAP = 1.5, 0.3, 1.2
_MIN_INK_SHARE = 0.2
_MAX_GROUND_DEVIATION, _MAX_INK_DEVIATION = 0.06, 0.1
_RING_PIXELS, _MIN_GROUND_PIXELS = 3, 8


class Word(NamedTuple):
    """The box of a suspected word, and the rules that found it (``strokes``, ``ocr``)."""

    box: Box
    rules: frozenset[str]


class _Mark(NamedTuple):
    """A small connected stroke with its box in pixels and its brightness."""

    top: int
    bottom: int
    left: int
    right: int
    brightness: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def find_words(renderings: Iterable[Float[np.ndarray, "H W"]], *, recognise: bool = True) -> list[Word]:
    """Find words in an image by two rules, each applied to all of its renderings.

    ``strokes`` finds at least four marks of equal height and shade on one line. A mark is a connected region that is
    brighter or darker than its even surroundings by a fifth of the range, and between 6 pixels and 6 % of the shorter
    side high. Images with a shorter side of at least 2000 pixels are also searched at about 1000 pixels; those of at
    least 3000 pixels only there. ``ocr`` finds the words that ``read_words`` recognises.

    Words that are faint, drawn across anatomy, handwritten or in a script that the recognition does not know may be
    missed: a result is a reason to review the image, and no result does not clear it. Measured by
    ``python -m benchmarks burned_in``.

    Args:
        renderings: renderings of one image in [0, 1]; near duplicates of earlier ones are skipped.
        recognise: apply ``ocr`` as well, which takes about a second.

    Returns:
        Boxes that do not overlap, each with the rules that found it.
    """
    words: list[Word] = []
    levels: list[UInt8[np.ndarray, "H W"]] = []
    for pixels in renderings:
        as_bytes = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        if as_bytes.min() == as_bytes.max() or any(_is_duplicate(as_bytes, earlier) for earlier in levels):
            continue
        levels.append(as_bytes)
        words += [Word(box, frozenset({"strokes"})) for box in find_strokes(pixels)]
    boxes = read_words(levels) if recognise else []
    return merged([*words, *(Word(box, frozenset({"ocr"})) for box in boxes)])


def words_in(source: Path, raw: Radiograph, *, recognise: bool = True) -> list[Word]:
    """Find words in every rendering of a file; see ``find_words``.

    Args:
        source: DICOM file or raster.
        raw: radiograph decoded from ``source``.
        recognise: apply ``ocr`` as well.

    Raises:
        UnreadableSource: see ``read_stored``.
    """
    with warnings.catch_warnings():
        # pydicom warns about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        return find_words(renderings_of(source, raw), recognise=recognise)


def merged(words: Iterable[Word]) -> list[Word]:
    """Merge words whose boxes overlap, with the rules of all of them."""
    separate: list[Word] = []
    for word in words:
        while overlapping := [other for other in separate if _overlap(word.box, other.box)]:
            separate = [other for other in separate if other not in overlapping]
            word = _union([word, *overlapping])
        separate.append(word)
    return separate


def _union(words: Sequence[Word]) -> Word:
    top, bottom, left, right = zip(*(word.box for word in words), strict=True)
    box = Box(min(top), max(bottom), min(left), max(right))
    return Word(box, frozenset().union(*(word.rules for word in words)))


def _overlap(box: Box, other: Box) -> bool:
    rows = max(box.top, other.top) < min(box.bottom, other.bottom)
    return rows and max(box.left, other.left) < min(box.right, other.right)


def _is_duplicate(levels: UInt8[np.ndarray, "H W"], other: UInt8[np.ndarray, "H W"]) -> bool:
    return int((np.maximum(levels, other) - np.minimum(levels, other)).max()) <= _MAX_LEVEL_DIFFERENCE


def find_strokes(pixels: Float[np.ndarray, "H W"]) -> list[Box]:
    """Find lines of marks that look like letters, by the rule ``strokes`` of ``find_words``, in pixels in [0, 1]."""
    side = min(pixels.shape)
    return [
        Box(*(edge * factor for edge in box))
        for factor in sorted({max(1, side // target) for target in _REDUCED_SIDES})
        for box in _stroke_lines(_reduced(pixels, factor))
    ]


def _stroke_lines(pixels: Float[np.ndarray, "H W"]) -> list[Box]:
    size = max(9, min(pixels.shape) // _NEIGHBOURHOODS_PER_SIDE) | 1
    around = ndimage.uniform_filter(pixels, size, mode="nearest")
    return [
        _box_around(line)
        for values, ground in ((pixels, around), (1 - pixels, 1 - around))
        for line in _lines(_marks(values, values > ground + 0.6 * _MIN_CONTRAST))
        if len(line) >= _MIN_LETTERS
    ]


def _box_around(marks: Sequence[_Mark]) -> Box:
    return Box(
        min(mark.top for mark in marks),
        max(mark.bottom for mark in marks),
        min(mark.left for mark in marks),
        max(mark.right for mark in marks),
    )


def _reduced(pixels: Float[np.ndarray, "H W"], factor: int) -> Float[np.ndarray, "h w"]:
    """Average squares of ``factor`` pixels; incomplete squares at the right and bottom are dropped."""
    if factor == 1:
        return pixels
    rows, columns = (length // factor for length in pixels.shape)
    cropped = pixels[: rows * factor, : columns * factor]
    return cropped.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype=np.float32)


def _marks(pixels: Float[np.ndarray, "H W"], foreground: Bool[np.ndarray, "H W"]) -> list[_Mark]:
    labels, _ = ndimage.label(foreground)
    max_height = max(2 * _MIN_HEIGHT, _MAX_HEIGHT_SHARE * min(pixels.shape))
    marks = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not (_MIN_HEIGHT <= height <= max_height and 2 <= width <= _MAX_WIDTH * height + 2):
            continue
        around = tuple(slice(max(0, part.start - _RING_PIXELS), part.stop + _RING_PIXELS) for part in (rows, columns))
        brightness = _letter(pixels[around], labels[around], number, _MIN_INK_SHARE * height * width)
        if brightness is not None:
            marks.append(_Mark(rows.start, rows.stop, columns.start, columns.stop, brightness))
    return marks


def _letter(
    patch: Float[np.ndarray, "h w"], labels: Int[np.ndarray, "h w"], number: int, min_ink: float
) -> float | None:
    """Return the brightness of a mark drawn in one shade on an even ground, and None for any other region."""
    mask = labels == number
    ink = patch[mask]
    # The cheap tests come first, because most marks of an X-ray fail them.
    if len(ink) < min_ink or ink[ink >= np.median(ink)].std() > _MAX_INK_DEVIATION:
        return None
    near, far = (ndimage.binary_dilation(mask, iterations=reach) for reach in (1, _RING_PIXELS))
    ground = patch[far & ~near & (labels == 0)]
    if len(ground) < _MIN_GROUND_PIXELS:
        return None
    level, brightness = np.median(ground), float(np.percentile(ink, 75))
    even = np.median(np.abs(ground - level)) <= _MAX_GROUND_DEVIATION
    return brightness if even and brightness - level >= _MIN_CONTRAST else None


def _lines(marks: list[_Mark]) -> list[list[_Mark]]:
    """Group marks that follow each other from left to right on one line."""
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
        lines.append([ordered[index] for index in line])
    return lines


def _follower(ordered: list[_Mark], index: int) -> int | None:
    """Return the index of the next letter: close, on the same base line, and of similar height and brightness."""
    mark = ordered[index]
    for other in range(index + 1, len(ordered)):
        gap = ordered[other].left - mark.right
        if gap > _MAX_GAP * mark.height:
            return None
        if gap >= -_MAX_OVERLAP * mark.height and _similar(mark, ordered[other]):
            return other
    return None


def _similar(mark: _Mark, other: _Mark) -> bool:
    on_line = abs(other.bottom - mark.bottom) <= max(1.5, 0.2 * mark.height)
    return on_line and 0.65 <= other.height / mark.height <= 1.55 and abs(other.brightness - mark.brightness) < 0.12
