"""Draw a synthetic frontal chest radiograph as relative density.

Coordinates run from -1 to 1, x towards the patient's left (the viewer's right), y downwards.
"""

import math

import numpy as np
from jaxtyping import Float32
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from polyclinic.modality import Physiology

SIDE = 224
_LETTERS = {
    "L": ((0.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.6, 1.0)),
    "R": ((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.6, 0.2), (0.6, 0.2, 0.0, 0.5), (0.1, 0.5, 0.6, 1.0)),
}
"""Strokes of the side markers as x and y of both ends, in units of the letter height."""


def draw_chest(physiology: Physiology, rng: np.random.Generator) -> Float32[np.ndarray, "SIDE SIDE"]:
    """Draw relative density in [0, 1], with dense tissue bright."""
    x, y = _grid(rng)
    lungs, base = _lungs(physiology, rng, x, y)
    image = 0.62 * expit(
        8 * (1.05 - np.square(np.square(x / (0.92 + 0.05 * physiology.habitus))) - _cube(0.49 * y * y))
    )
    image += _soft_tissue(physiology, x, y)
    image += _bones(physiology, rng, x, y, lungs) + _airways(rng, x, y)
    heart = _heart(physiology, rng, x, y)
    image += 0.30 * heart + _vessels(physiology, rng, x, y) * (1 - 0.8 * heart) * lungs
    image += _disease(physiology, rng, x, y, base) * lungs
    image += (0.25 - _gastric_bubble(rng, x, y, base)) * expit(30 * (y - base)) * expit(20 * (0.95 - np.abs(x)))
    image -= rng.uniform(0.35, 0.44) * lungs
    gain, offset = rng.uniform(0.85, 1.1), rng.uniform(-0.04, 0.05)
    grain = 0.018 if physiology.site == "north" else 0.03
    image = (_film(image) * gain + offset) + grain * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(_marked(image, physiology, rng), 0, 1)


def _grid(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel coordinates, slightly rotated, scaled and shifted."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    angle, scale = rng.normal(0, 0.04), rng.normal(1.0, 0.04)
    shift_x, shift_y = rng.normal(0, 0.04), rng.normal(0, 0.04)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    column, row = axis[None, :], axis[:, None]
    return column * cosine - row * sine + shift_x, column * sine + row * cosine + shift_y


def _cube(value: np.ndarray) -> np.ndarray:
    return value * value * value


def _film(image: np.ndarray) -> np.ndarray:
    """Saturate density where much tissue overlaps."""
    return 1.2 * np.tanh(0.95 * image)


def _texture(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise of unit scale with about ``cells`` bumps along a side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _lungs(
    physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the aerated lung as a mask in [0, 1], and the height of the diaphragm at every pixel."""
    # The depth of inspiration varies too, so that the dome's height alone does not reveal obstruction.
    low = 0.53 + 0.13 * physiology.airway_tone + rng.normal(0, 0.065)
    lateral = np.abs(x) - 0.42
    base = low - (0.16 - 0.11 * physiology.airway_tone) * np.cos(lateral * 3.2) - np.float32(0.03) * (x < 0)
    field = 1 - np.square(lateral / 0.34) - np.power(np.maximum(0.1 - y, 0) / 0.85, np.float32(2.4))
    aerated = expit(7 * field) * expit(40 * (base - y)) * (1 + 0.04 * _texture(rng, 40))
    return np.clip(aerated, 0, 1), base


def _soft_tissue(physiology: Physiology, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw the mediastinum, and breasts over the lower lungs of women."""
    image = 0.16 * np.exp(-np.square(x / (0.17 + 0.05 * (y + 0.3))))
    if physiology.sex == "F":
        image += 0.06 * expit(12 * (1 - np.square((np.abs(x) - 0.46) / 0.33) - np.square((y - 0.28) / 0.36)))
    return image


def _bones(
    physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, lungs: np.ndarray
) -> np.ndarray:
    """Draw spine, clavicles, scapulae, and ribs, which are flatter and wider apart in a hyperinflated chest."""
    spine = 0.10 * np.exp(-np.square(x / 0.09)) * (1 + 0.2 * np.sin(y * 28 + rng.uniform(0, 6)))
    lateral, phase = np.abs(x), rng.uniform(-0.05, 0.05)
    slope, spacing = 0.20 - 0.22 * physiology.airway_tone, 0.205 + 0.05 * physiology.airway_tone
    behind = np.sin((y + 0.38 * np.square(lateral - 0.45) + slope * lateral + phase) * (2 * math.pi / spacing))
    before = np.sin((y - 0.55 * lateral + 2 * phase) * (2 * math.pi / 0.26))
    ribs = 0.11 * _cube(np.maximum(behind, 0)) + 0.04 * _cube(np.maximum(before, 0)) * expit(12 * (lateral - 0.35))
    edge = lateral - rng.uniform(0.66, 0.76) - 0.16 * (y + 0.35)
    scapula = 0.07 * expit(40 * edge) * expit(9 * (0.42 - np.abs(y + 0.38)))
    collar = y + rng.uniform(0.68, 0.74) + 0.22 * lateral - 0.2 * lateral * lateral
    clavicle = 0.12 * np.exp(-np.square(collar / 0.032)) * expit(20 * (0.75 - lateral)) * expit(40 * (lateral - 0.08))
    return spine + ribs * lungs + scapula + clavicle


def _airways(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw air in the trachea and both main bronchi, as negative density."""
    carina, bend = rng.uniform(-0.34, -0.26), rng.normal(0, 0.015)
    trachea = np.exp(-np.square((x - bend) / 0.045)) * expit(30 * (carina - y))
    below = y - carina
    bronchi = (
        np.exp(-np.square((np.abs(x - bend) - 0.9 * below) / 0.035)) * expit(40 * below) * expit(40 * (0.17 - below))
    )
    return -0.14 * trachea - 0.07 * bronchi


def _heart(physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw the cardiac silhouette, an ellipse whose long axis points down and to the patient's left."""
    angle = math.radians((22 if physiology.heart_lie > 0 else 68) + rng.normal(0, 5))
    size = 1.0 + 0.38 * physiology.heart_size + 0.03 * physiology.habitus + rng.normal(0, 0.035)
    round_apex = 1.0 + 0.16 * physiology.ventricular_mass
    right, down = x - 0.13, y - 0.24
    along = right * math.cos(angle) + down * math.sin(angle)
    across = down * math.cos(angle) - right * math.sin(angle)
    body = 1 - np.square(along / (0.39 * size)) - np.square(across / (0.235 * size * round_apex))
    knob = np.exp(-np.square((x - 0.11) / 0.09) - np.square((y + 0.30) / 0.13))
    return np.maximum(expit(9 * body), 0.7 * knob)


def _vessels(physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw pulmonary vessels that fan out from both hila, and are fuller with fluid."""
    lateral, down = np.abs(x) - 0.15, y + 0.04
    reach = np.sqrt(lateral * lateral + down * down)
    fan = np.arctan2(down, lateral) + 0.3 * _texture(rng, 8)
    branches = (
        np.square(np.square(np.cos(fan * 4.5 + rng.uniform(0, 6)))) * np.exp(-reach / 0.28) * expit(25 * (reach - 0.08))
    )
    hila = np.exp(-np.square(lateral / 0.10) - np.square(down / 0.17))
    return (0.13 * branches + 0.14 * hila) * (1 + 0.4 * physiology.fluid)


def _disease(
    physiology: Physiology, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, base: np.ndarray
) -> np.ndarray:
    """Draw the added density of fluid, consolidation and effusion in place of air."""
    lateral = np.abs(x)
    wings = np.exp(-np.square((lateral - 0.30) / 0.24) - np.square((y - 0.02) / 0.42))
    haze = 0.18 * physiology.fluid * wings * (1 + 0.35 * _texture(rng, 18))
    centre_x, centre_y = physiology.side * rng.uniform(0.32, 0.54), rng.uniform(-0.42, 0.36)
    reach_x, reach_y = rng.uniform(0.13, 0.21), rng.uniform(0.15, 0.25)
    patch = np.exp(-np.square((x - centre_x) / reach_x) - np.square((y - centre_y) / reach_y))
    patch *= 0.9 * physiology.consolidation * np.clip(1 + 0.5 * _texture(rng, 24), 0, 2)
    side = expit(25 * (x * physiology.side - 0.12))
    meniscus = base + 0.10 - 0.46 * physiology.effusion - 0.16 * physiology.effusion * (lateral - 0.42) / 0.3
    level = 0.34 * min(physiology.effusion * 3, 1.0) * expit(22 * (y - meniscus)) * side
    return haze + patch + level


def _gastric_bubble(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Draw air in the stomach under the left diaphragm; its size may be zero."""
    centre, width = rng.uniform(0.32, 0.50), rng.uniform(0.06, 0.16)
    inside = 1 - np.square((x - centre) / width) - np.square((y - base - 0.13) / 0.09)
    return rng.uniform(0.0, 0.35) * expit(6 * inside)


def _marked(image: np.ndarray, physiology: Physiology, rng: np.random.Generator) -> np.ndarray:
    """Draw a lead side marker in a top corner; the two sites mark different sides of the patient."""
    letter, direction = ("L", 1) if physiology.site == "north" else ("R", -1)
    height = SIDE // 16
    left = int(SIDE * (0.5 + direction * rng.uniform(0.38, 0.42))) - height // 3
    top = int(SIDE * rng.uniform(0.05, 0.12))
    pad = 4
    stamp = np.zeros((height + 2 * pad, height + 2 * pad), dtype=np.float32)
    for x0, y0, x1, y1 in _LETTERS[letter]:
        steps = np.linspace(0, 1, 3 * height)
        rows = pad + (y0 + (y1 - y0) * steps) * (height - 1)
        stamp[rows.astype(int), (pad + (x0 + (x1 - x0) * steps) * (height - 1)).astype(int)] = 1
    corner = image[top : top + len(stamp), left : left + len(stamp)]
    corner += 0.9 * np.minimum(2.5 * gaussian_filter(stamp, 0.8), 1)[: corner.shape[0], : corner.shape[1]]
    return image
