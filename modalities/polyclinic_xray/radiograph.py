"""The decoded radiograph, independent of its file format, and its geometry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource

MAX_PIXELS = 80_000_000
"""Larger images are refused as decompression bombs; the largest detectors have about 20 million pixels. The limit is
below that of Pillow's warning, so that every image that Pillow warns about is refused."""

_MAX_PIXEL_ASPECT = 16.0
"""Largest ratio of the sides of a pixel; beyond it the header is wrong."""


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as pixels, with the facts about its decoding.

    Attributes:
        pixels: values in [0, 1], with dense tissue bright.
        facts: facts about the file, as ``describe`` returns them.
        pixel_aspect: height of a pixel divided by its width.
    """

    pixels: Float[np.ndarray, "H W"]
    facts: Mapping[str, float | str]
    pixel_aspect: float = 1.0


def refuse_blank(pixels: Float[np.ndarray, "*shape"]) -> None:
    """Refuse an image, or its part without padding, that is uniform.

    Raises:
        UnreadableSource: every pixel has the same value.
    """
    if not pixels.size or pixels.min() == pixels.max():
        raise UnreadableSource("every pixel is shown with the same value; expected an image (or set another `window`)")


def plausible_aspect(height: float, width: float) -> float | None:
    """Return the height of a pixel divided by its width, or None if the lengths are not plausible."""
    if not (0 < height < math.inf and 0 < width < math.inf):
        return None
    return height / width if 1 / _MAX_PIXEL_ASPECT <= height / width <= _MAX_PIXEL_ASPECT else None


def placement(raw: Radiograph, size: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a radiograph with square pixels, centred in a square of ``size``."""
    height, width = raw.pixels.shape[0] * raw.pixel_aspect, raw.pixels.shape[1]
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - rows) // 2, (size - columns) // 2
    return top, top + rows, left, left + columns
