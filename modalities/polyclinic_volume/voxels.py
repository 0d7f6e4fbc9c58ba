"""The decoded volume, independent of its file format, and its geometry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Float64, Real

from polyclinic.modality import UnreadableSource

Kind: TypeAlias = Literal["ct", "mr"]

MAX_SIDE, MAX_VOXELS = 4096, 2**28
"""Larger volumes are refused before they are decoded; 1024 slices of 512 x 512 are just allowed."""

_MIN_SIDE, _MAX_MAGNITUDE = 2, 1e9
_SPACINGS = (0.01, 100.0)
_MAX_COSINE = 0.01
"""Largest cosine between two axes, 0.6 degrees; stored affine maps are rounded, and a shear is larger."""


@dataclass(frozen=True)
class Voxels:
    """A volume whose axes run towards the patient's right, front and head as nearly as its scan allows (RAS).

    Attributes:
        values: Hounsfield units for CT, and the units of the scanner for MR.
        affine: map from voxel numbers to millimetres in RAS.
        kind: ``ct`` or ``mr``.
        facts: facts about the file, as ``describe`` returns them.
    """

    values: Float32[np.ndarray, "X Y Z"]
    affine: Float64[np.ndarray, "4 4"]
    kind: Kind
    facts: Mapping[str, float | str]

    @property
    def spacing(self) -> Float64[np.ndarray, "3"]:
        """Distance between voxels along each axis in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def centre(self) -> Float64[np.ndarray, "3"]:
        """Centre of the volume in mm."""
        middle = (np.array(self.values.shape) - 1) / 2
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])


def refuse_size(shape: tuple[int, ...]) -> None:
    """Refuse a size before anything of it is allocated.

    Raises:
        UnreadableSource: a side is too short or too long, or there are too many voxels.
    """
    sides = " x ".join(map(str, shape))
    if min(shape) < _MIN_SIDE or max(shape) > MAX_SIDE:
        raise UnreadableSource(f"volume of {sides} voxels; expected sides from {_MIN_SIDE} to {MAX_SIDE}")
    if int(np.prod(shape, dtype=object)) > MAX_VOXELS:
        raise UnreadableSource(f"volume of {sides} voxels; expected at most {MAX_VOXELS:,} in all")


def refuse_geometry(affine: Float64[np.ndarray, "4 4"]) -> None:
    """Refuse a map from voxels to millimetres that is no rotation and scaling.

    Raises:
        UnreadableSource: the map is not finite or singular, its spacing is not plausible, or it is sheared.
    """
    axes = affine[:3, :3]
    if not np.isfinite(affine).all():
        raise UnreadableSource("the map from voxels to millimetres is not finite")
    spacing = np.linalg.norm(axes, axis=0)
    low, high = _SPACINGS
    if not ((spacing >= low) & (spacing <= high)).all():
        raise UnreadableSource(
            f"voxels of {' x '.join(f'{side:g}' for side in spacing)} mm; expected sides from {low:g} to {high:g} mm"
        )
    cosines = np.abs((axes / spacing).T @ (axes / spacing) - np.eye(3)).max()
    if cosines > _MAX_COSINE:
        degrees = float(np.degrees(np.arcsin(min(cosines, 1.0))))
        raise UnreadableSource(
            f"axes of the volume that are {degrees:.1f} degrees off a right angle, as with a tilted gantry; resample "
            "it to a straight grid first"
        )


def reoriented(
    values: Real[np.ndarray, "I J K"], affine: Float64[np.ndarray, "4 4"]
) -> tuple[Float32[np.ndarray, "X Y Z"], Float64[np.ndarray, "4 4"]]:
    """Permute and flip axes, so that each runs along the nearest of right, front and head; no value is changed."""
    order, signs = _nearest_axes(affine[:3, :3])
    turned = np.zeros((4, 4))
    turned[3, 3] = 1
    origin = affine[:3, 3].copy()
    for world, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        turned[:3, world] = sign * affine[:3, axis]
        if sign < 0:
            origin = origin + affine[:3, axis] * (values.shape[axis] - 1)
    turned[:3, 3] = origin
    permuted = values.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(permuted, dtype=np.float32), turned


def _nearest_axes(axes: Float64[np.ndarray, "3 3"]) -> tuple[list[int], list[int]]:
    """Return the voxel axis of each world axis, and its sign; the clearest pair is assigned first."""
    cosines = axes / np.linalg.norm(axes, axis=0)
    size = np.abs(cosines)
    order, signs = [0, 0, 0], [1, 1, 1]
    for _ in range(3):
        world, axis = np.unravel_index(int(size.argmax()), size.shape)
        order[world], signs[world] = int(axis), -1 if cosines[world, axis] < 0 else 1
        size[world, :] = size[:, axis] = -1
    return order, signs


def refuse_values(values: Float[np.ndarray, "X Y Z"]) -> None:
    """Refuse voxels that are not finite, too large, or all equal.

    Raises:
        UnreadableSource: see above.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        share = 1 - float(np.isfinite(values).mean())
        raise UnreadableSource(f"{share:.2%} of the voxels are not finite; expected numbers everywhere")
    if max(abs(low), abs(high)) > _MAX_MAGNITUDE:
        raise UnreadableSource(f"voxels beyond {_MAX_MAGNITUDE:g}; expected Hounsfield units, or units of a scanner")
    if low == high:
        raise UnreadableSource("every voxel has the same value; expected a scan")
