"""Where on a radiograph a score comes from."""

from math import isqrt

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from torch import Tensor

from polyclinic.modality import HEAT, relative_relevance

_STRONGEST = 0.75
"""Opacity of the most relevant patch: what lies under it stays visible."""


def draw_heat(relevance: Float[Tensor, " T"], size: int, axes: Axes) -> None:
    """Lay the relevance of a square grid of patches over an image of ``size`` pixels.

    Raises:
        ValueError: no token at all, or a relevance that cannot be drawn.
    """
    strength = patch_grid(relevance)
    heat = to_rgba_array(HEAT, alpha=strength.ravel() * _STRONGEST).reshape(*strength.shape, 4)
    edges = (-0.5, size - 0.5, size - 0.5, -0.5)
    axes.imshow(heat, extent=edges, interpolation="bilinear")


def patch_grid(relevance: Float[Tensor, " T"]) -> Float[np.ndarray, "G G"]:
    """Relevance of a square grid of patches, the top row first, as a share of the largest.

    Class tokens stand ahead of the patches, and for no place: they are left out before the largest is sought.

    Raises:
        ValueError: no token at all, or a relevance that cannot be drawn.
    """
    side = isqrt(len(relevance))
    if not side:
        raise ValueError("got the relevance of 0 tokens, expected one for each patch; give a row of `token_relevance`")
    return relative_relevance(relevance[len(relevance) - side**2 :]).reshape(side, side)
