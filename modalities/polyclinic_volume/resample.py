"""Resample a volume to a grid along the axes of the patient."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64

from polyclinic_volume.voxels import Voxels


def on_grid(
    voxels: Voxels, *, shape: tuple[int, int, int], spacing: tuple[float, float, float], outside: float
) -> Float32[np.ndarray, "X Y Z"]:
    """Interpolate linearly at a grid around the centre of a volume, parallel to right, front and head.

    Voxels that are several times smaller than those of the grid are averaged in blocks first, so that nothing between
    the points of the grid is skipped.

    Args:
        voxels: decoded volume.
        shape: number of points along each axis.
        spacing: distance of the points along each axis in mm.
        outside: value outside the volume.
    """
    values, affine = _averaged(voxels, spacing)
    step = np.diag([*spacing, 1.0])
    step[:3, 3] = voxels.centre - np.array(spacing) * (np.array(shape) - 1) / 2
    to_source = np.linalg.inv(affine) @ step
    source = torch.from_numpy(values)[None, None] - outside
    sampled = F.grid_sample(source, _normalised(to_source, shape, values.shape), align_corners=True)
    return np.asarray((sampled[0, 0] + outside).numpy(), dtype=np.float32)


def _averaged(
    voxels: Voxels, spacing: tuple[float, float, float]
) -> tuple[Float32[np.ndarray, "X Y Z"], Float64[np.ndarray, "4 4"]]:
    """Average blocks of whole voxels that fit into a voxel of the grid; edges are repeated to complete a block."""
    axes = np.abs(voxels.affine[:3, :3]).argmax(axis=0)
    factors = np.maximum(1, np.floor(np.array(spacing)[axes] / voxels.spacing + 1e-6)).astype(int)
    factors = np.minimum(factors, voxels.values.shape)
    if (factors == 1).all():
        return voxels.values, voxels.affine
    values = voxels.values
    for axis, factor in enumerate(factors):
        margins = [(0, -values.shape[axis] % factor if axis == other else 0) for other in range(3)]
        blocks = np.pad(values, margins, mode="edge") if any(end for _, end in margins) else values
        shape = (*blocks.shape[:axis], blocks.shape[axis] // factor, factor, *blocks.shape[axis + 1 :])
        values = blocks.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    affine = voxels.affine.copy()
    affine[:3, 3] += voxels.affine[:3, :3] @ ((factors - 1) / 2)
    affine[:3, :3] *= factors
    return np.ascontiguousarray(values), affine


def _normalised(
    to_source: Float64[np.ndarray, "4 4"], shape: tuple[int, int, int], sides: tuple[int, ...]
) -> torch.Tensor:
    """Return sampling points [1 X Y Z 3] from -1 to 1, last axis first, as ``grid_sample`` expects them."""
    points = np.zeros((*shape, 3))
    for axis, count in enumerate(shape):
        place = np.arange(count).reshape([-1 if axis == other else 1 for other in range(3)])
        points = points + place[..., None] * to_source[:3, axis]
    points = points + to_source[:3, 3]
    scale = 2 / np.maximum(1, np.array(sides) - 1)
    return torch.from_numpy(np.ascontiguousarray((points * scale - 1)[..., ::-1], dtype=np.float32))[None]
