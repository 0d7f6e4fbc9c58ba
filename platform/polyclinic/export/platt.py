"""Platt's calibration of a score, of many resamples at once."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import expit

_STEPS, _CLOSE, _TOGETHER = 100, 1e-10, 64


def smoothed_platt(
    scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"], weights: Shaped[np.ndarray, "R N"]
) -> Float[np.ndarray, "R 2"]:
    """Slope and intercept of least log loss against smoothed labels (Platt 1999, section 2.2), by Newton's method.

    The smoothed label of a positive study is (P + 1) / (P + 2) and that of a negative one 1 / (Q + 2), where P and Q
    are their weights: a threshold that tells the classes apart then has a finite slope.

    Args:
        scores: of validation studies.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: how often each study counts in each of R resamples.

    Returns:
        NaN for a resample of a single class, or of a single score.
    """
    known = ~np.isnan(labels)
    values, truth, counts = scores[known].astype(np.float64), labels[known] == 1, weights[:, known].astype(np.float64)
    found = np.full((len(weights), 2), np.nan)
    if not len(values) or np.ptp(values) == 0:
        return found
    # In units of their own spread a first step of one is a sensible one.
    middle, unit = float(values.mean()), float(values.std())
    for start in range(0, len(weights), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        found[part] = _newton((values - middle) / unit, truth, counts[part])
    slope = found[:, 0] / unit
    return np.stack([slope, found[:, 1] - slope * middle], axis=1)


def _newton(
    x: Float[np.ndarray, " n"], truth: Shaped[np.ndarray, " n"], counts: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r 2"]:
    positives, negatives = counts[:, truth].sum(axis=1), counts[:, ~truth].sum(axis=1)
    target = np.where(truth, ((positives + 1) / (positives + 2))[:, None], (1 / (negatives + 2))[:, None])
    prior = np.stack([np.zeros(len(counts)), np.log((positives + 1) / (negatives + 1))], axis=1)
    found, moving = prior, np.ones(len(counts), dtype=bool)
    for _ in range(_STEPS):
        share = expit(found[:, :1] * x + found[:, 1:])
        error, spread = counts * (share - target), counts * share * (1 - share)
        gradient = np.stack([error @ x, error.sum(axis=1)], axis=1)
        a, b, c = spread @ (x * x), spread @ x, spread.sum(axis=1)
        # Without curvature, where a resample holds one score, there is no minimum to go to.
        determinant = a * c - b * b
        safe = np.where(determinant > 0, determinant, np.nan)
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        # A full step far from the minimum may overshoot: none is longer than two.
        step = step / safe[:, None]
        length = np.abs(step).max(axis=1, keepdims=True)
        found = found - step * np.minimum(1.0, 2.0 / np.maximum(length, 1e-300))
        moving = ~(length[:, 0] < _CLOSE)
        if not moving[~np.isnan(length[:, 0])].any():
            break
    found[moving | (positives == 0) | (negatives == 0)] = np.nan
    return found
