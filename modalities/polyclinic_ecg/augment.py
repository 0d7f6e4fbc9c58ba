"""Augment a prepared electrocardiogram by random variation of its acquisition."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Drawn parameters for ``L`` leads of ``T`` samples.

    Attributes:
        shift: samples by which the recording is delayed; negative if it is advanced.
        gain: factor on all leads.
        wander: amplitude of the drift of each lead in mV.
        cycles: periods of the drift in the window, and its phase in radians.
        noise: added noise of each sample in mV.
        dropped: mask of the leads to drop.
    """

    shift: int
    gain: float
    wander: Float[np.ndarray, " L"]
    cycles: tuple[float, float]
    noise: Float[np.ndarray, "L T"]
    dropped: Bool[np.ndarray, " L"]


def draw(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int],
    shift: int,
    gain: float,
    wander: float,
    noise: float,
    drop: float,
) -> Variation:
    """Draw the parameters of a variation.

    Args:
        rng: random generator.
        shape: leads and samples.
        shift: largest shift in samples, in both directions.
        gain: standard deviation of the logarithm of the gain.
        wander: standard deviation of the drift's amplitude in mV.
        noise: largest standard deviation of the noise in mV.
        drop: probability that a lead is dropped.
    """
    leads, _ = shape
    return Variation(
        shift=int(rng.integers(-shift, shift, endpoint=True)),
        gain=float(np.exp(rng.normal(0, gain))),
        wander=rng.normal(0, wander, size=leads).astype(np.float32),
        cycles=(float(rng.uniform(0.5, 4.0)), float(rng.uniform(0, 2 * np.pi))),
        noise=_noise(rng, shape, noise),
        dropped=rng.random(leads) < drop,
    )


def _noise(rng: np.random.Generator, shape: tuple[int, int], largest: float) -> Float[np.ndarray, "L T"]:
    if largest == 0:
        return np.zeros(shape, dtype=np.float32)
    return np.float32(largest * rng.random()) * rng.standard_normal(shape, dtype=np.float32)


def apply(
    variation: Variation, signal: Float[np.ndarray, "L T"], mask: Bool[np.ndarray, "L T"]
) -> tuple[Float[np.ndarray, "L T"], Bool[np.ndarray, "L T"]]:
    """Return a varied copy of the signal and its mask.

    Samples shifted in from outside the window are masked. No lead is dropped if none would remain.
    """
    length = signal.shape[1]
    start, end = max(0, variation.shift), length + min(0, variation.shift)
    recorded = np.zeros_like(mask)
    recorded[:, start:end] = mask[:, start - variation.shift : end - variation.shift]
    present = recorded.any(axis=1)
    if (present & ~variation.dropped).any():
        recorded[variation.dropped] = False
    cycles, phase = variation.cycles
    angle = np.linspace(0, 2 * np.pi * cycles, length, dtype=np.float32) + np.float32(phase)
    varied = variation.noise + variation.wander[:, None] * np.sin(angle)
    varied[:, start:end] += np.float32(variation.gain) * signal[:, start - variation.shift : end - variation.shift]
    varied *= recorded
    return varied, recorded
