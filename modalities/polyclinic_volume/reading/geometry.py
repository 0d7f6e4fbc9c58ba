"""Check that the slices of a series form one straight, complete volume (PS3.3 C.7.6.2.1.1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from polyclinic.modality import UnreadableSource
from polyclinic_volume.reading.slices import Slice
from polyclinic_volume.voxels import refuse_geometry, refuse_size

_MAX_TURN = 1e-3
"""Largest difference of a direction between slices, and of its length from one."""

_MAX_GAP_ERROR = (0.02, 0.02)
"""Largest difference of a gap from the median gap in mm, and as a share of it; positions are stored in rounded text."""

_SAME = 1e-3
_MAX_DRIFT = 0.5
"""Largest shift of a slice sideways, in pixels."""


def ordered(slices: Sequence[Slice]) -> tuple[list[Slice], Float64[np.ndarray, "4 4"]]:
    """Return the slices by their position, and the map from column, row and slice to millimetres in RAS.

    Raises:
        UnreadableSource: the slices are not one complete volume.
    """
    _refuse_mixed(slices)
    first = slices[0]
    refuse_size((first.size[1], first.size[0], len(slices)))
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    depth = np.array([float(np.dot(normal, each.position)) for each in slices])
    order = np.argsort(depth, kind="stable")
    gaps = np.diff(depth[order])
    _refuse_gaps(gaps)
    positions = np.array([slices[index].position for index in order])
    _refuse_drift(positions, normal, min(first.spacing))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = (positions[-1] - positions[0]) / (len(slices) - 1), positions[0]
    affine[:2] *= -1  # DICOM counts towards the patient's left and back
    refuse_geometry(affine)
    return [slices[index] for index in order], affine


def _refuse_mixed(slices: Sequence[Slice]) -> None:
    localizers = sum(each.is_localizer for each in slices)
    if localizers:
        raise UnreadableSource(f"{localizers} of {len(slices)} slices are localizers; expected the slices of one scan")
    if len(slices) < 2:
        raise UnreadableSource(f"a series of {len(slices)} slice; expected a volume of 2 or more")
    for name, values in (
        ("patients", {each.patient for each in slices}),
        ("studies", {each.study for each in slices}),
        ("modalities", {each.modality for each in slices}),
        ("frames of reference", {each.reference for each in slices}),
        ("sizes", {each.size for each in slices}),
    ):
        if len(values) > 1:
            raise UnreadableSource(f"slices of {len(values)} {name} in one series; expected one")
    for name, count, expected in (("pixel spacing", "spacing", 2), ("position", "position", 3)):
        if wrong := sum(not _is_usable(getattr(each, count), expected) for each in slices):
            raise UnreadableSource(f"{wrong} of {len(slices)} slices state no usable {name}")
    if wrong := sum(not _is_direction(each.orientation) for each in slices):
        raise UnreadableSource(f"{wrong} of {len(slices)} slices state no usable orientation")
    spacing, turn = (np.array([getattr(each, name) for each in slices]) for name in ("spacing", "orientation"))
    if min(slices[0].spacing) <= 0 or (np.abs(spacing / spacing[0] - 1) > _SAME).any():
        raise UnreadableSource("slices of different pixel spacings in one series; expected one, above zero")
    if (np.abs(turn - turn[0]) > _MAX_TURN).any():
        raise UnreadableSource("slices of different orientations in one series; expected parallel slices")


def _is_usable(numbers: tuple[float, ...], expected: int) -> bool:
    return len(numbers) == expected and bool(np.isfinite(numbers).all())


def _is_direction(numbers: tuple[float, ...]) -> bool:
    if not _is_usable(numbers, 6):
        return False
    row, column = np.array(numbers[:3]), np.array(numbers[3:])
    lengths = abs(float(row @ row) - 1) < _MAX_TURN * 2 and abs(float(column @ column) - 1) < _MAX_TURN * 2
    return lengths and abs(float(row @ column)) < _MAX_TURN


def _refuse_gaps(gaps: Float64[np.ndarray, " n"]) -> None:
    median = float(np.median(gaps))
    absolute, share = _MAX_GAP_ERROR
    if same := int((gaps <= max(1e-3, share * median)).sum()):
        raise UnreadableSource(
            f"{same} slices lie at the place of another, as with copies or several phases; expected one at each place"
        )
    if (np.abs(gaps - median) > max(absolute, share * median)).any():
        raise UnreadableSource(
            f"gaps between slices from {gaps.min():g} to {gaps.max():g} mm; expected equal ones, so a slice is missing "
            "or the series was joined"
        )


def _refuse_drift(positions: Float64[np.ndarray, "n 3"], normal: Float64[np.ndarray, "3"], pixel: float) -> None:
    """Refuse slices that are shifted sideways, as with a tilted gantry."""
    path = positions - positions[0]
    depth = path @ normal
    sideways = np.linalg.norm(path - depth[:, None] * normal, axis=1)
    if sideways.max() > _MAX_DRIFT * pixel:
        degrees = float(np.degrees(np.arctan2(sideways[-1], depth[-1])))
        raise UnreadableSource(
            f"slices that are shifted sideways by {degrees:.1f} degrees, as with a tilted gantry; resample the series "
            "to a straight grid first"
        )
