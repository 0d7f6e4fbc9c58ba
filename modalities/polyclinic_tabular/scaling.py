"""Scales learned from the training split: percentiles or standard scores, per column."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_LEVELS = np.linspace(0.0, 1.0, 101)


def percentile_knots(observed: Float[np.ndarray, " N"]) -> list[float]:
    """The 0th, 1st, ..., 100th percentile of the observed values, by linear interpolation; empty without any."""
    return np.quantile(observed, _LEVELS).tolist() if len(observed) else []


def percentile(value: float, knots: Sequence[float]) -> float:
    """The share of the training values below ``value``, half of the equal ones counted, from 0 to 1.

    Linear between knots. A column that was never observed in training gives 0.5.
    """
    if not knots:
        return 0.5
    distinct, first, count = np.unique(knots, return_index=True, return_counts=True)
    lowest, highest = _LEVELS[first], _LEVELS[first + count - 1]
    return float(np.interp(value, distinct, (lowest + highest) / 2, left=0.0, right=1.0))


def from_percentile(share: float, knots: Sequence[float]) -> float:
    """The value below which a share of the training values lies; NaN for a column never observed in training."""
    return float(np.interp(share, _LEVELS, knots)) if knots else float("nan")


def moments(observed: Float[np.ndarray, " N"]) -> list[float]:
    """Mean and population standard deviation, 1 for a constant column; empty without any value."""
    return [float(observed.mean()), float(observed.std()) or 1.0] if len(observed) else []


def zscore(value: float, moments: Sequence[float]) -> float:
    """Standard score; a column that was never observed in training gives 0."""
    return (value - moments[0]) / moments[1] if moments else 0.0


def from_zscore(score: float, moments: Sequence[float]) -> float:
    """The value of a standard score; NaN for a column never observed in training."""
    return score * moments[1] + moments[0] if moments else float("nan")
