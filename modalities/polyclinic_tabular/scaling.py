"""Scales of numeric columns, learned from the training split: percentiles or standard scores."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_SHARES = np.linspace(0.0, 1.0, 101)


def percentile_knots(observed: Float[np.ndarray, " N"]) -> list[float]:
    """Return the 101 percentiles (0 to 100) of the observed values, linearly interpolated; empty without values."""
    return np.quantile(observed, _SHARES).tolist() if len(observed) else []


def percentile(value: float, knots: Sequence[float]) -> float:
    """Return the share of training values below ``value``, from 0 to 1; equal ones count half (mid-rank).

    The share is linear between knots, and 0.5 for a column without training values.
    """
    if not knots:
        return 0.5
    distinct, first, count = np.unique(knots, return_index=True, return_counts=True)
    lowest, highest = _SHARES[first], _SHARES[first + count - 1]
    return float(np.interp(value, distinct, (lowest + highest) / 2, left=0.0, right=1.0))


def from_percentile(share: float, knots: Sequence[float]) -> float:
    """Return the value below which a share of the training values lies; NaN for a column without training values."""
    return float(np.interp(share, _SHARES, knots)) if knots else float("nan")


def moments(observed: Float[np.ndarray, " N"]) -> list[float]:
    """Return mean and population standard deviation, 1 for a constant column; empty without values."""
    return [float(observed.mean()), float(observed.std()) or 1.0] if len(observed) else []


def zscore(value: float, moments: Sequence[float]) -> float:
    """Return the standard score of a value; 0 for a column without training values."""
    return (value - moments[0]) / moments[1] if moments else 0.0


def from_zscore(score: float, moments: Sequence[float]) -> float:
    """Return the value of a standard score; NaN for a column without training values."""
    return score * moments[1] + moments[0] if moments else float("nan")
