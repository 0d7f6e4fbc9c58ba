"""Scale voxels to channels from -1 to 1: windows of Hounsfield units for CT, percentiles for MR."""

import numpy as np
from jaxtyping import Float32

from polyclinic_volume.voxels import Kind, Voxels

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "soft tissue": (50.0, 400.0),
    "bone": (400.0, 1800.0),
}
"""Level and width in Hounsfield units, as radiologists set them (Radiopaedia, "Windowing (CT)": lung W 1500 L -600,
soft tissue W 400 L 50, bone W 1800 L 400)."""

AIR = -1024.0
"""Value of CT outside the volume, and the lowest value that is read: scanners fill the corners with -2000 or -3024."""

_PERCENTILES = (1.0, 99.0)
SHOWN = (-300.0, 1400.0)
"""Level and width of the view, in which lung, soft tissue and bone are distinct."""


def channels_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of the channels of a kind."""
    return tuple(WINDOWS) if kind == "ct" else ("intensity",)


def windowed(values: Float32[np.ndarray, "*shape"], window: tuple[float, float]) -> Float32[np.ndarray, "*shape"]:
    """Map a window, a level and a width, to 0 to 1; what lies outside is clipped."""
    level, width = window
    return np.clip((values - np.float32(level - width / 2)) / np.float32(width), 0, 1)


def mr_range(voxels: Voxels) -> tuple[float, float]:
    """Return the level and width between two percentiles of the voxels above the smallest value, which is air."""
    values = voxels.values
    low, high = np.percentile(values[values > values.min()], _PERCENTILES)
    return float(low + high) / 2, max(float(high - low), float(np.finfo(np.float32).tiny))


def outside_of(voxels: Voxels) -> float:
    """Return the value that a volume has outside its borders."""
    return AIR if voxels.kind == "ct" else float(voxels.values.min())


def hounsfield(channels: Float32[np.ndarray, "C X Y Z"]) -> Float32[np.ndarray, "X Y Z"]:
    """Return Hounsfield units from the windows of CT: those of the lung, and of bone beyond its range."""
    names = list(WINDOWS)
    units = {}
    for name in ("lung", "bone"):
        level, width = WINDOWS[name]
        units[name] = level + channels[names.index(name)] / 2 * width
    level, width = WINDOWS["lung"]
    return np.where(units["lung"] < level + width / 2 - 1, units["lung"], units["bone"]).astype(np.float32)
