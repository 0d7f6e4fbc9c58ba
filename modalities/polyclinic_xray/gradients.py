"""Histograms of oriented gradients of a radiograph, for the baseline (Dalal and Triggs 2005)."""

import numpy as np
from jaxtyping import Float
from PIL import Image

_SIDE, _CELL, _BINS = 128, 16, 9
_SMALLEST_NORM = 1e-3


def gradient_histograms(image: Float[np.ndarray, "H H"]) -> Float[np.ndarray, " F"]:
    """Return the histograms of unsigned orientations in 8 x 8 cells, normalised in overlapping blocks of 2 x 2 cells.

    Args:
        image: standardised image, which is resized to 128 x 128.
    """
    small = np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
    rows, columns = np.gradient(small)
    size = np.hypot(rows, columns)
    place = np.mod(np.arctan2(rows, columns), np.pi) / np.pi * _BINS - 0.5
    lower, share = np.floor(place).astype(int), place - np.floor(place)
    cells = _SIDE // _CELL
    cell = np.arange(_SIDE) // _CELL
    number = cell[:, None] * cells + cell[None, :]
    histogram = np.zeros((cells * cells, _BINS))
    for offset, weight in ((0, 1 - share), (1, share)):
        np.add.at(histogram, (number, (lower + offset) % _BINS), size * weight)
    grid = histogram.reshape(cells, cells, _BINS)
    blocks = np.concatenate([grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]], axis=2)
    norms = np.sqrt(np.square(blocks).sum(axis=2, keepdims=True) + _SMALLEST_NORM**2)
    return (blocks / norms).ravel()
