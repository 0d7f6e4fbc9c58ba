"""Rotate, zoom and shift an image with MONAI's resampler."""

import math

import numpy as np
import torch
from jaxtyping import Float
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Resample
from torch import Tensor

# MONAI's scipy backend uses one thread, as many loader processes run at once.
_RESAMPLE = Resample(mode=1, padding_mode="nearest", norm_coords=False, dtype=np.float32)


def moved(
    image: Float[Tensor, "1 size size"], *, angle: float, scale: float, shift: Float[np.ndarray, "2"]
) -> Float[Tensor, "1 size size"]:
    """Resample an image at a zoomed, shifted and rotated grid; see ``_sampling_grid``."""
    grid = torch.from_numpy(_sampling_grid(image.shape[-1], angle, scale, shift))
    # Tracking metadata takes longer than resampling, and MONAI only has a global switch for it.
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        resampled: Tensor = _RESAMPLE(image, grid)
    finally:
        set_track_meta(tracked)
    return resampled


def _sampling_grid(size: int, angle: float, scale: float, shift: np.ndarray) -> Float[np.ndarray, "2 size size"]:
    """Return the row and column in pixels at which each output pixel is sampled: zoom, then shift, then rotation.

    Args:
        size: side of the image in pixels.
        angle: rotation about the centre in radians.
        scale: size of the sampled region relative to the image.
        shift: shift of that region along rows and columns, as a share of ``size``.
    """
    middle = (size - 1) / 2
    axis = (np.arange(size, dtype=np.float32) - middle) * scale
    row, column = axis[:, None] + float(shift[0]) * size, axis[None, :] + float(shift[1]) * size
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.stack([cosine * row - sine * column + middle, sine * row + cosine * column + middle])
