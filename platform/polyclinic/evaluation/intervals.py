"""Confidence intervals by resampling patients, not studies (Field and Welsh 2007, the cluster bootstrap)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.arrays import Array, as_float64, checked_labels, checked_scores

_CHUNK_ELEMENTS = 2**18
"""Weights handled at once: small enough for the cache, and so that memory does not grow with resamples."""


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: NaN when no resample is defined.
        high: NaN when no resample is defined.
        undefined: resamples that were left out because they held one class only, or nothing.
    """

    low: float
    high: float
    undefined: int


def patient_resamples(patient_ids: Sequence[str], resamples: int, seed: int) -> Integer[np.ndarray, "R N"]:
    """Draw as many patients as there are, with replacement; each study counts as often as its patient was drawn.

    The same seed gives the same resamples whatever the order of studies, and longer runs begin like shorter ones.

    Args:
        patient_ids: one per study.
        resamples: R.
        seed: of the draw.

    Returns:
        Multiplicities as int32, R x N x 4 bytes.

    Raises:
        ValueError: no study, or fewer than one resample.
    """
    if not len(patient_ids):
        raise ValueError("got no studies, expected at least one; set the split that is evaluated")
    if resamples < 1:
        raise ValueError(f"got {resamples} resamples, expected at least 1; set `resamples`")
    patients, of_study = np.unique(np.asarray(patient_ids), return_inverse=True)
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, len(of_study)), dtype=np.int32)
    for row in weights:
        drawn = rng.integers(len(patients), size=len(patients))
        row[:] = np.bincount(drawn, minlength=len(patients))[of_study]
    return weights


def weighted_auroc(
    scores: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """``auroc`` of every resample, exact also with ties, from one sort of the scores.

    A positive study wins against the negative weight strictly below its score and half of the weight at it; both
    are read off one cumulative sum per resample. Sums are of integers, so that nothing is lost before the ratio.

    Args:
        scores: any monotone measure of how likely the finding is.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: how often each study counts in each resample.

    Returns:
        NaN for a resample of a single class.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    order = np.argsort(values, kind="stable")
    positives, negatives = order[truth[order] == 1], order[truth[order] == 0]
    below = np.searchsorted(values[negatives], values[positives], side="left")
    not_above = np.searchsorted(values[negatives], values[positives], side="right")
    result = np.empty(len(weights))
    for rows in _chunks(weights):
        of_positives = weights[rows][:, positives]
        cumulative = np.zeros((len(of_positives), len(negatives) + 1), dtype=np.int64)
        np.cumsum(weights[rows][:, negatives], axis=1, out=cumulative[:, 1:])
        twice_beaten = cumulative[:, below] + cumulative[:, not_above]
        wins = np.einsum("rn,rn->r", of_positives, twice_beaten, dtype=np.float64) / 2
        pairs = of_positives.sum(axis=1, dtype=np.float64) * cumulative[:, -1]
        result[rows] = np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)
    return result


def percentile_interval(values: Float[np.ndarray, " R"], level: float = 0.95) -> Interval:
    """The central share ``level`` of the defined resamples (Efron and Tibshirani 1993, section 13.3).

    Raises:
        ValueError: ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"got level {level}, expected a share between 0 and 1; set `level`, such as 0.95")
    defined = values[~np.isnan(values)]
    undefined = len(values) - len(defined)
    if not len(defined):
        return Interval(float("nan"), float("nan"), undefined)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), undefined)


def weighted_mean(values: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    """Mean of every resample over the studies whose value is not NaN; NaN for a resample without any."""
    numbers = as_float64(values)
    known = ~np.isnan(numbers)
    total, count = np.empty(len(weights)), np.empty(len(weights))
    for rows in _chunks(weights):
        chosen = weights[rows][:, known].astype(np.float64)
        total[rows], count[rows] = chosen @ numbers[known], chosen.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def mean_interval(values: Float[Array, " N"], weights: Integer[np.ndarray, "R N"], level: float = 0.95) -> Interval:
    """Interval of a mean over studies, such as the share of queries that found their target.

    Args:
        values: one per study, NaN where unknown.
        weights: from ``patient_resamples``.
        level: share of resamples inside the interval.
    """
    return percentile_interval(weighted_mean(values, weights), level)


def _chunks(weights: np.ndarray) -> Iterator[slice]:
    """Slices over resamples of bounded size."""
    resamples, studies = weights.shape
    step = max(1, _CHUNK_ELEMENTS // max(1, studies))
    return (slice(start, start + step) for start in range(0, resamples, step))
