"""Derive kind, spacing and size of volumes from the headers of a cohort."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyclinic_volume.reading.extent import Extent
from polyclinic_volume.tokens import Sides

_MAX_HEADERS = 50
_TOKENS = 512
"""Cubes that a grid may have: the trunk compares each with each other."""

_SPACINGS, _SIDES = (0.2, 20.0), (2, 512)


def chosen(files: Sequence[Path]) -> Sequence[Path]:
    """Return files spread over a cohort, few enough to read the headers of all their slices."""
    return files[:: max(1, -(-len(files) // _MAX_HEADERS))]


def adapted_kind(extents: Sequence[Extent]) -> dict[str, Any]:
    """Return the kind that the headers state; empty where none states one.

    Raises:
        ValueError: they state both.
    """
    kinds = sorted({extent.kind for extent in extents} - {None}, key=str)
    if len(kinds) > 1:
        raise ValueError("got CT and MR in one modality of the cohort, expected one kind; set `kind` to leave one out")
    return {"kind": kinds[0]} if kinds else {}


def adapted_grid(
    extents: Sequence[Extent], *, patch: int, size: Sides | None = None, spacing: tuple[float, ...] | None = None
) -> dict[str, Any]:
    """Return a size and a spacing, equal along all axes, that cover the median scan.

    Args:
        extents: extents of training scans.
        patch: side of a cube in voxels.
        size: size if it is set; the spacing follows from it.
        spacing: spacing if it is set; the size follows from it, within the number of cubes that a grid may have.
    """
    lengths = np.median([extent.lengths for extent in extents], axis=0)
    native = np.median([extent.spacing for extent in extents], axis=0)
    if size is None and spacing is None:
        step = max(float(native.min()), (float(np.prod(lengths)) / (_TOKENS * patch**3)) ** (1 / 3))
        for _ in range(100):
            step = _rounded(step)
            sides = _sides(lengths, (step,) * 3, patch)
            if math.prod(sides) <= _TOKENS * patch**3 or step >= _SPACINGS[1]:
                break
            step *= 1.05
        return {"size": sides, "spacing": (step,) * 3}
    if size is None:
        assert spacing is not None, "one of both is set"
        return {"size": _sides(lengths, spacing, patch)}
    if spacing is None:
        return {"spacing": (_rounded(float((lengths / np.array(size)).max())),) * 3}
    return {}


def checked_state(state: Mapping[str, Any], *, patch: int) -> dict[str, Any]:
    """Return a state as ``adapt`` derives it.

    Raises:
        ValueError: a value is of another kind or out of range.
    """
    found: dict[str, Any] = {}
    if (kind := state.get("kind")) is not None:
        if kind not in ("ct", "mr"):
            raise ValueError(f"got a state with kind {kind!r}, expected 'ct' or 'mr'; set `kind`")
        found["kind"] = kind
    for name, (low, high), number in (("size", _SIDES, int), ("spacing", _SPACINGS, float)):
        values = state.get(name)
        if values is None:
            continue
        if not (
            isinstance(values, list | tuple)
            and len(values) == 3
            and all(isinstance(value, int | float) and low <= value <= high for value in values)
            and not (name == "size" and any(value % patch for value in values))
        ):
            raise ValueError(
                f"got a state with {name} {values!r}, expected three from {low:g} to {high:g}; set `{name}`"
            )
        found[name] = tuple(number(value) for value in values)
    return found


def _sides(lengths: np.ndarray, spacing: tuple[float, ...], patch: int) -> Sides:
    """Return sides in whole cubes that cover lengths, cut to the largest side."""
    most = max(patch, _SIDES[1] // patch * patch)
    sides = [
        min(most, max(patch, math.ceil(length / step / patch - 0.05) * patch))
        for length, step in zip(lengths, spacing, strict=True)
    ]
    return sides[0], sides[1], sides[2]


def _rounded(step: float) -> float:
    """Return a spacing of two digits, rounded up and within its limits."""
    low, high = _SPACINGS
    digits = 10.0 ** (math.floor(math.log10(max(step, low))) - 1)
    return min(high, round(math.ceil(max(step, low) / digits - 1e-9) * digits, 3))
