"""One decoded radiograph, whatever file it came from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MAX_PIXELS = 80_000_000
"""Images of more pixels are refused as decompression bombs; the largest detectors have about 20 million.
Below the size from which Pillow warns, so that what it warns of is refused."""


@dataclass(frozen=True)
class Radiograph:
    """Pixels in [0, 1], dense tissue bright, with the facts of how they were obtained."""

    pixels: Float[np.ndarray, "H W"]
    facts: Mapping[str, float | str]


def placement(shape: tuple[int, ...], size: int) -> tuple[int, int, int, int]:
    """Where an image of a height and a width lies in the middle of a square of ``size``: top, bottom, left, right."""
    height, width = shape
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - rows) // 2, (size - columns) // 2
    return top, top + rows, left, left + columns
