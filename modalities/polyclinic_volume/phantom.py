"""Write a synthetic CT of the chest, drawn from a latent patient, as NIfTI.

Coordinates are millimetres towards the patient's right, front and head, around the middle of the chest.
"""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from polyclinic.modality import Physiology
from polyclinic_volume.reading.nifti import write_nifti
from polyclinic_volume.reading.sidecar import write_sidecar

SHAPE, SPACING = (48, 40, 40), (7.5, 7.0, 8.0)
_AIR, _FAT, _MUSCLE, _BONE, _WATER = -1000.0, -95.0, 45.0, 420.0, 12.0
_NOISE = {"north": 12.0, "south": 22.0}


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Draw and write a CT; the sites store their volumes along different axes, and slightly oblique."""
    values = draw_chest(physiology, rng)
    affine = np.eye(4)
    angle = rng.normal(0, 0.02)
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ np.diag(SPACING)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + rng.normal(0, 15, 3)
    if physiology.site == "north":  # as a converter writes slices of DICOM, which count to the left and the back
        affine[:3, 3] += affine[:3, 0] * (SHAPE[0] - 1) + affine[:3, 1] * (SHAPE[1] - 1)
        affine[:3, :2] *= -1
        values = values[::-1, ::-1]
    stored = np.round(values).astype(np.int16)
    target = path.with_name(f"{path.name}.nii.gz")
    write_sidecar(target, "ct")
    return write_nifti(target, stored, affine, description="SYNTHETIC phantom CT, HU")


def draw_chest(physiology: Physiology, rng: np.random.Generator) -> Float32[np.ndarray, "X Y Z"]:
    """Draw Hounsfield units of a patient who lies on the back."""
    x, y, z = _grid(rng)
    girth = 1 + 0.05 * physiology.habitus + (0.03 if physiology.sex == "M" else 0.0)
    body = _inside((x / (168 * girth)) ** 2 + (y / (112 * girth)) ** 2)
    muscle = _inside((x / (150 * girth)) ** 2 + (y / (96 * girth)) ** 2)
    values = _AIR + (_FAT - _AIR) * body + (_MUSCLE - _FAT) * muscle
    lungs = _lungs(physiology, rng, x, y, z)
    values += (_lung_tissue(physiology, rng, x, y, z) - values) * lungs
    values += (_WATER - values) * _effusion(physiology, x, y, lungs)
    values += (_blood(physiology) - values) * _heart(physiology, rng, x, y, z)
    values += (_BONE - values) * _bones(x, y, z, girth, rng)
    # A reconstruction kernel correlates the noise of neighbours.
    noise = gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), 0.6)
    values += noise / noise.std() * _NOISE[physiology.site]
    return np.asarray(np.clip(values, -1024, 1500), dtype=np.float32)


def _grid(rng: np.random.Generator) -> list[np.ndarray]:
    """Return coordinates of the voxels; no patient lies exactly in the middle."""
    axes = [
        (np.arange(count) - (count - 1) / 2) * step + shift
        for count, step, shift in zip(SHAPE, SPACING, rng.normal(0, 6, 3), strict=True)
    ]
    return list(np.meshgrid(*axes, indexing="ij"))


def _inside(radius: np.ndarray, sharpness: float = 14.0) -> np.ndarray:
    """Return 1 inside a unit ellipsoid and 0 outside, with the blur of a voxel between."""
    return np.asarray(expit(sharpness * (1 - radius)))


def _lungs(physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return aerated lung and pleural space; trapped air stretches it downwards."""
    depth = 118 + 22 * physiology.airway_tone + rng.normal(0, 8)
    lateral, width = np.abs(x) - 74, 56.0
    return _inside((lateral / width) ** 2 + (y / 80) ** 2 + ((z + 8) / depth) ** 4)


def _lung_tissue(
    physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Return the density of lung: more air if it is trapped, haze of fluid at the back, and consolidation."""
    values = -845 - 60 * physiology.airway_tone - 0.25 * y
    values = values + 330 * physiology.fluid * expit(-(y - 10) / 30)
    centre = np.array([-physiology.side * rng.uniform(60, 90), rng.uniform(-45, 35), rng.uniform(-60, 60)])
    reach = rng.uniform(26, 40, 3)
    place = sum(((axis - at) / by) ** 2 for axis, at, by in zip((x, y, z), centre, reach, strict=True))
    return values + (10 - values) * min(1.0, 1.3 * physiology.consolidation) * np.exp(-place)


def _effusion(physiology: Physiology, x: np.ndarray, y: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Return fluid that settles at the back of one pleural space."""
    level = -88 + 95 * physiology.effusion
    return lungs * expit((level - y) / 5) * expit(-x * physiology.side / 8)


def _blood(physiology: Physiology) -> float:
    """Return the density of blood, which falls with haemoglobin."""
    return 48 - 18 * physiology.anaemia


def _heart(physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the heart, whose long axis points to the left and, in a vertical heart, further down."""
    angle = math.radians((25 if physiology.heart_lie > 0 else 62) + rng.normal(0, 4))
    size = 1 + 0.35 * physiology.heart_size + rng.normal(0, 0.03)
    left, down = -x - 22, -(z + 28)
    along = left * math.cos(angle) + down * math.sin(angle)
    across = down * math.cos(angle) - left * math.sin(angle)
    wall = 1 + 0.12 * physiology.ventricular_mass
    return _inside((along / (62 * size)) ** 2 + (across / (42 * size * wall)) ** 2 + ((y - 22) / (44 * size)) ** 2, 9.0)


def _bones(x: np.ndarray, y: np.ndarray, z: np.ndarray, girth: float, rng: np.random.Generator) -> np.ndarray:
    """Return spine, sternum and ribs."""
    spine = _inside((x / 19) ** 2 + ((y + 82 * girth) / 17) ** 2, 6.0)
    sternum = _inside((x / 18) ** 2 + ((y - 90 * girth) / 8) ** 2, 4.0)
    ring = np.exp(-(((np.sqrt((x / (140 * girth)) ** 2 + (y / (94 * girth)) ** 2) - 1) / 0.06) ** 2))
    ribs = ring * expit(4 * (np.sin((z + 0.35 * y) * (2 * math.pi / 38) + rng.uniform(0, 6)) - 0.3))
    return np.clip(spine + sternum + 0.7 * ribs, 0, 1)
