"""One decoded radiograph, whatever file it came from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource

MAX_PIXELS = 80_000_000
"""Images of more pixels are refused as decompression bombs; the largest detectors have about 20 million.
Below the size from which Pillow warns, so that what it warns of is refused."""


_LONGEST_PIXEL = 16.0
"""Of one side relative to the other; beyond it the header is wrong."""


@dataclass(frozen=True)
class Radiograph:
    """Pixels in [0, 1], dense tissue bright, with the facts of how they were obtained.

    Attributes:
        pixel_aspect: height of a pixel divided by its width.
    """

    pixels: Float[np.ndarray, "H W"]
    facts: Mapping[str, float | str]
    pixel_aspect: float = 1.0


def refuse_blank(pixels: Float[np.ndarray, "*shape"]) -> None:
    """Refuse an image, or the part of it that is not padding, in which nothing can be seen.

    Raises:
        UnreadableSource: every pixel has the same value.
    """
    if not pixels.size or pixels.min() == pixels.max():
        raise UnreadableSource("every pixel is shown with the same value; expected an image (or set another `window`)")


def plausible_aspect(height: float, width: float) -> float | None:
    """Height of a pixel divided by its width, or None where they are no lengths of a pixel."""
    if not (0 < height < math.inf and 0 < width < math.inf):
        return None
    return height / width if 1 / _LONGEST_PIXEL <= height / width <= _LONGEST_PIXEL else None


def placement(raw: Radiograph, size: int) -> tuple[int, int, int, int]:
    """Where a radiograph lies in the middle of a square of ``size``, with square pixels: top, bottom, left, right."""
    height, width = raw.pixels.shape[0] * raw.pixel_aspect, raw.pixels.shape[1]
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - rows) // 2, (size - columns) // 2
    return top, top + rows, left, left + columns
