"""Rotate, zoom and shift an image by bilinear resampling."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor


def moved(
    image: Float[Tensor, "1 size size"], *, angle: float, scale: float, shift: Float[np.ndarray, "2"]
) -> Float[Tensor, "1 size size"]:
    """Resample an image at a zoomed, shifted and rotated grid; beyond its border the nearest pixel is repeated.

    Args:
        image: image with square pixels.
        angle: rotation about the centre in radians.
        scale: size of the sampled region relative to the image.
        shift: shift of that region along rows and columns, as a share of the side.
    """
    grid = _sampling_grid(image.shape[-1], angle, scale, shift)
    # In float64, because coordinates in float32 are off by 1e-5 pixels, and values of noise by 1e-4.
    samples = F.grid_sample(image[None].double(), grid, padding_mode="border", align_corners=True)
    return samples[0].to(image.dtype)


def _sampling_grid(size: int, angle: float, scale: float, shift: np.ndarray) -> Float64[Tensor, "1 size size 2"]:
    """Return the column and row at which each output pixel is sampled, from -1 to 1: zoom, then shift, then rotation.

    For the arguments see ``moved``.
    """
    axis = torch.linspace(-scale, scale, size, dtype=torch.float64)
    unit = 2 * size / max(1, size - 1)
    row, column = axis[:, None] + float(shift[0]) * unit, axis[None, :] + float(shift[1]) * unit
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.stack([sine * row + cosine * column, cosine * row - sine * column], dim=-1)[None]
