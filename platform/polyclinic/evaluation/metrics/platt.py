"""Platt calibration: log-odds of a finding as a linear function of its score."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit

MAX_STEPS, STEP_TOLERANCE, RESAMPLES_PER_BATCH = 100, 1e-10, 64


def smoothed_platt(
    scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"], weights: Shaped[np.ndarray, "R N"]
) -> Float[np.ndarray, "R 2"]:
    """Fit Platt's slope and intercept to smoothed labels by Newton's method (Platt 1999, section 2.2).

    The smoothed label of a positive study is (P + 1) / (P + 2) and that of a negative study 1 / (Q + 2), where P and Q
    are the total weights of the two classes. The slope is therefore finite even where a threshold separates them.

    Args:
        scores: scores of validation studies.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: number of times that each study counts in each of R resamples.

    Returns:
        Slope and intercept; NaN for a resample with one class or one score, or without convergence.
    """
    known = ~np.isnan(labels)
    values, truth, counts = scores[known].astype(np.float64), labels[known] == 1, weights[:, known].astype(np.float64)
    fits = np.full((len(weights), 2), np.nan)
    if not len(values) or np.ptp(values) == 0:
        return fits
    # Standardised scores keep the Hessian well conditioned and make step lengths comparable.
    centre, scale = float(values.mean()), float(values.std())
    for start in range(0, len(weights), RESAMPLES_PER_BATCH):
        batch = slice(start, start + RESAMPLES_PER_BATCH)
        fits[batch] = _newton((values - centre) / scale, truth, counts[batch])
    slope = fits[:, 0] / scale
    return np.stack([slope, fits[:, 1] - slope * centre], axis=1)


def _newton(
    x: Float[np.ndarray, " n"], truth: Shaped[np.ndarray, " n"], counts: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r 2"]:
    positives, negatives = counts[:, truth].sum(axis=1), counts[:, ~truth].sum(axis=1)
    target = np.where(truth, ((positives + 1) / (positives + 2))[:, None], (1 / (negatives + 2))[:, None])
    fits = np.stack([np.zeros(len(counts)), np.log((positives + 1) / (negatives + 1))], axis=1)
    moving = np.ones(len(counts), dtype=bool)
    for _ in range(MAX_STEPS):
        probability = expit(fits[:, :1] * x + fits[:, 1:])
        error, curvature = counts * (probability - target), counts * probability * (1 - probability)
        gradient = np.stack([error @ x, error.sum(axis=1)], axis=1)
        # The Hessian of each resample is [[a, b], [b, c]]; its inverse is [[c, -b], [-b, a]] / (a c - b b).
        a, b, c = curvature @ (x * x), curvature @ x, curvature.sum(axis=1)
        determinant = a * c - b * b
        # A resample with a single score has a singular Hessian and no unique minimum.
        safe = np.where(determinant > 0, determinant, np.nan)
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        step = step / safe[:, None]
        # Far from the minimum a full step may overshoot, so steps are limited to a length of 2.
        length = np.abs(step).max(axis=1, keepdims=True)
        fits = fits - step * np.minimum(1.0, 2.0 / np.maximum(length, 1e-300))
        moving = ~(length[:, 0] < STEP_TOLERANCE)
        if not moving[~np.isnan(length[:, 0])].any():
            break
    fits[moving | (positives == 0) | (negatives == 0)] = np.nan
    return fits
