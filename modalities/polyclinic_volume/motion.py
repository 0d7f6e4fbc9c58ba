"""Rotate, zoom and shift a volume by linear resampling."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def moved(
    volume: Float[Tensor, "C X Y Z"],
    *,
    angles: Float[np.ndarray, "3"],
    scale: float,
    shift: Float[np.ndarray, "3"],
) -> Float[Tensor, "C X Y Z"]:
    """Resample a volume at a zoomed, rotated and shifted grid; beyond its border the nearest voxel is repeated.

    Args:
        volume: channels over cubic voxels.
        angles: rotations about the axes to the right, the front and the head in radians, in this order.
        scale: size of the sampled region relative to the volume.
        shift: shift of that region along each axis, as a share of its side.
    """
    sides = np.array(volume.shape[1:], dtype=np.float64)
    turn = scale * _rotation(angles)
    # From shares of one side to shares of another, as positions run from -1 to 1 along each.
    relative = turn * sides[None, :] / sides[:, None]
    # ``affine_grid`` lists the last axis first.
    theta = np.column_stack([relative[::-1, ::-1], 2 * np.asarray(shift)[::-1]])
    grid = F.affine_grid(torch.from_numpy(theta.astype(np.float32))[None], [1, 1, *volume.shape[1:]], False)
    return F.grid_sample(volume[None], grid, padding_mode="border", align_corners=False)[0]


def _rotation(angles: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        step = np.eye(3)
        step[first, first] = step[second, second] = math.cos(angle)
        step[first, second], step[second, first] = -math.sin(angle), math.sin(angle)
        turn = step @ turn
    return turn
