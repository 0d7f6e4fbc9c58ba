"""Draw a synthetic resting electrocardiogram: a heart dipole over each beat, projected on twelve leads.

The dipole is a sum of Gaussians in time, one per wave (McSharry et al. 2003), each with a direction in space: x
towards the patient's left, y towards the feet, z towards the back, in millivolts. The projection on the leads is the
transform of Dower (1980).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from polyclinic.modality import Physiology

RATE = 500
SECONDS = 10

# Rows: V1 to V6, I, II; columns: x, y, z. The other four limb leads follow from I and II (Einthoven, Goldberger).
_DOWER = np.array(
    [
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
    ]
)
_AXIS = {1: -10.0, -1: 105.0}
_NORMAL_AXIS = 45.0


class Wave(NamedTuple):
    """A wave of the beat: delay after the R peak and width in seconds, and direction times amplitude in mV."""

    delay: float
    width: float
    dipole: Float[np.ndarray, "3"]


def draw_heart(physiology: Physiology, rng: np.random.Generator) -> Float[np.ndarray, "12 N"]:
    """Draw ``SECONDS`` of twelve leads in the order of ``LEADS``, in millivolts at ``RATE``."""
    beats = _beats(physiology, rng)
    dipole = _dipole(beats, _waves(physiology, rng, float(np.median(np.diff(beats)))), rng)
    leads = (_DOWER * rng.lognormal(0, 0.07, size=_DOWER.shape)) @ dipole
    leads += _atria(physiology, rng) + _disturbance(physiology, rng)
    first, second = leads[6], leads[7]
    third = second - first
    limbs = [first, second, third, -(first + second) / 2, (first - third) / 2, (second + third) / 2]
    return np.concatenate([np.stack(limbs), leads[:6]])


def _beats(physiology: Physiology, rng: np.random.Generator) -> np.ndarray:
    """Draw the times of R peaks around the window, varied by breathing, premature beats or fibrillation."""
    mean = 60 / physiology.heart_rate
    count = int(SECONDS / mean * 1.6) + 8
    spread = rng.uniform(0.01, 0.03) + rng.uniform(0.20, 0.32) * physiology.fibrillation
    intervals = mean * np.clip(1 + spread * rng.normal(size=count), 0.5, 1.9)
    breath = np.arange(count) * mean * 2 * np.pi * rng.uniform(0.2, 0.33) + rng.uniform(0, 2 * np.pi)
    intervals *= 1 + rng.uniform(0, 0.06) * np.sin(breath)
    if rng.random() < 0.2:
        for early in rng.integers(2, count - 2, size=rng.integers(1, 4)):
            intervals[early] *= 0.7
            intervals[early + 1] *= 1.2
    return np.cumsum(intervals) - intervals[0] - mean * (1 + rng.random())


def _waves(physiology: Physiology, rng: np.random.Generator, interval: float) -> list[Wave]:
    """Draw P, Q, R, S, ST segment and T; the QT time is proportional to the root of the interval (Bazett 1920)."""
    turn = np.radians(_AXIS[physiology.electrical_axis] + rng.normal(0, 12) - _NORMAL_AXIS)
    voltage = (1 + 1.5 * physiology.ventricular_mass) * np.exp(rng.normal(0, 0.08) - 0.08 * physiology.habitus)
    wide = rng.lognormal(0, 0.1)
    qt = np.sqrt(interval) * rng.normal(1, 0.03)
    qrs = [
        Wave(-0.028 * wide, 0.009 * wide, _turned([-0.12, -0.10, -0.18], turn, voltage, rng)),
        Wave(0.0, 0.012 * wide, _turned([0.80, 0.72, 0.22], turn, voltage, rng)),
        Wave(0.030 * wide, 0.012 * wide, _turned([-0.15, -0.12, 0.50], turn, voltage, rng)),
    ]
    atrial = (1 - min(1.0, 1.25 * physiology.fibrillation)) * rng.lognormal(0, 0.25)
    p_wave = Wave(-rng.normal(0.16, 0.015), rng.normal(0.024, 0.003), atrial * np.array([0.08, 0.14, -0.02]))
    injury = -0.20 * physiology.ischaemia * rng.lognormal(0, 0.25) + rng.normal(0, 0.015)
    direction = np.array([0.85, 0.55, -0.35]) + rng.normal(0, 0.1, size=3)
    segment = [Wave(delay * qt, 0.035 * qt, 0.75 * injury * direction) for delay in (0.08, 0.13, 0.18)]
    height = (1 - 0.75 * physiology.ischaemia) * (1 + 1.2 * physiology.renal_impairment) * rng.lognormal(0, 0.16)
    narrow = 1 - 0.35 * physiology.renal_impairment
    t_dipole = _turned([0.24, 0.20, -0.12], 0.5 * turn, height, rng)
    late = Wave(0.30 * qt, 0.045 * qt * narrow, t_dipole)
    early = Wave((0.30 - 0.06 * narrow) * qt, 0.055 * qt * narrow, 0.35 * t_dipole)
    return [p_wave, *qrs, *segment, early, late]


def _turned(dipole: list[float], turn: float, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate a dipole in the frontal plane, scale it, and vary it slightly."""
    x, y, z = scale * np.array(dipole) * rng.lognormal(0, 0.08, size=3)
    return np.array([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z])


def _dipole(beats: np.ndarray, waves: list[Wave], rng: np.random.Generator) -> np.ndarray:
    """Sum the waves of the beat before and of the beat after each sample to [3, N]."""
    time = np.arange(RATE * SECONDS) / RATE
    after = np.searchsorted(beats, time)
    strength = 1 + rng.normal(0, 0.03, size=len(beats))
    delays, widths = (np.array([getattr(wave, name) for wave in waves])[:, None] for name in ("delay", "width"))
    dipoles = np.stack([wave.dipole for wave in waves], axis=1)
    total = np.zeros((3, len(time)))
    for beat in (after - 1, after):
        shape = np.exp(-0.5 * ((time - beats[beat] - delays) / widths) ** 2)
        total += dipoles @ shape * strength[beat]
    return total


def _atria(physiology: Physiology, rng: np.random.Generator) -> np.ndarray:
    """Draw fibrillatory waves of 4 to 9 Hz with varying frequency and size, largest in V1."""
    time = np.arange(RATE * SECONDS) / RATE
    size = 0.11 * physiology.fibrillation * rng.lognormal(0, 0.25)
    drift = 2 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time + rng.uniform(0, 6))
    angle = 2 * np.pi * rng.uniform(4.5, 8.5) * time + drift
    wave = size * (np.sin(angle) + 0.4 * np.sin(2 * angle + 1)) * (1 + 0.4 * np.sin(0.31 * angle))
    return np.array([1.0, 0.6, 0.4, 0.3, 0.25, 0.2, 0.2, 0.8])[:, None] * wave


def _disturbance(physiology: Physiology, rng: np.random.Generator) -> np.ndarray:
    """Draw breathing and drift of the skin potential, mains hum and muscle noise, separately for each electrode."""
    time = np.arange(RATE * SECONDS) / RATE
    breath = np.sin(2 * np.pi * rng.uniform(0.15, 0.4) * time + rng.uniform(0, 6))
    drift = np.sin(2 * np.pi * rng.uniform(0.03, 0.15, size=(8, 1)) * time + rng.uniform(0, 6, size=(8, 1)))
    offset = rng.normal(0, 0.15, size=(8, 1))
    slow = offset + rng.normal(0, 0.05, size=(8, 1)) * breath + rng.normal(0, 0.08, size=(8, 1)) * drift
    hum = rng.exponential(0.004, size=(8, 1)) * np.sin(2 * np.pi * 50 * time + rng.uniform(0, 6))
    noise = rng.uniform(0.008, 0.022) * (1.0 if physiology.site == "north" else 1.4)
    return slow + hum + noise * rng.standard_normal((8, len(time)), dtype=np.float32)
