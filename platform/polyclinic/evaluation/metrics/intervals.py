"""Confidence intervals by resampling patients, not studies (Field and Welsh 2007, the cluster bootstrap)."""

from collections.abc import Callable, Sequence, Sized
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Shaped
from scipy import sparse

from polyclinic.evaluation.metrics.arrays import Array, as_float64, checked_labels, checked_scores


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: lower end; NaN if no resample is defined.
        high: upper end; NaN if no resample is defined.
        undefined: number of resamples left out because the statistic is undefined.
    """

    low: float
    high: float
    undefined: int


class Estimate(NamedTuple):
    """A statistic over all studies, NaN where undefined, with its 95 % interval over patients."""

    value: float
    ci95: Interval


def patient_resamples(patient_ids: Sequence[str], resamples: int, seed: int) -> Integer[np.ndarray, "R N"]:
    """Resample all patients with replacement; each study counts as often as its patient is drawn.

    The resamples do not depend on the order of the studies, and the first ones do not depend on ``resamples``.

    Args:
        patient_ids: patient id of each study.
        resamples: number of resamples, R.
        seed: seed of the draw.

    Returns:
        Multiplicities as int32, R x N x 4 bytes; the resamples of one study are contiguous in memory.

    Raises:
        ValueError: there are no studies, or fewer than one resample.
    """
    if not len(patient_ids):
        raise ValueError("got no studies, expected at least one; set the split that is evaluated")
    if resamples < 1:
        raise ValueError(f"got {resamples} resamples, expected at least 1; set `resamples`")
    patients, of_study = np.unique(np.asarray(patient_ids), return_inverse=True)
    rng = np.random.default_rng(seed)
    times = np.empty((resamples, len(patients)), dtype=np.int32)
    for row in times:
        row[:] = np.bincount(rng.integers(len(patients), size=len(patients)), minlength=len(patients))
    return np.ascontiguousarray(times.T)[of_study].T


def weighted_auroc(
    scores: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Return the ``auroc`` of every resample from one sort of the scores, exact even with ties.

    A positive study wins against the negative weight strictly below its score and half of the weight at it. Studies
    between two neighbours of the other class have equal wins, so they are summed before the cumulative sums: the rarer
    class determines the cost. All sums are of integers and therefore exact.

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: multiplicity of each study in each resample.

    Returns:
        NaN for a resample of a single class.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    order = np.argsort(values, kind="stable")
    positives, negatives = order[truth[order] == 1], order[truth[order] == 0]
    below = np.searchsorted(values[negatives], values[positives], side="left")
    not_above = np.searchsorted(values[negatives], values[positives], side="right")
    cuts, at_cut = np.unique(np.concatenate([below, not_above]), return_inverse=True)
    between = np.searchsorted(cuts, np.arange(len(negatives)), side="right")
    beaten = running_sums(group_sums(between, negatives, weights, count=len(cuts) + 1))
    # A positive study is at two cuts, which coincide where it has no tie.
    winners = group_sums(at_cut, np.tile(positives, 2), weights, count=len(cuts))
    twice_won = np.einsum("kr,kr->r", beaten[:-1], winners, dtype=np.float64)
    twice_pairs = winners.sum(axis=0, dtype=np.float64) * beaten[-1]
    return ratio(twice_won, twice_pairs)


def percentile_interval(values: Float[np.ndarray, " R"], level: float = 0.95) -> Interval:
    """Return the central share ``level`` of the defined resamples (Efron and Tibshirani 1993, section 13.3).

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


def estimate(
    statistic: Callable[[Integer[np.ndarray, "R N"]], Float[np.ndarray, " R"]], weights: Integer[np.ndarray, "R N"]
) -> Estimate:
    """Compute a statistic of all studies and its interval.

    Args:
        statistic: function from multiplicities of studies to one value per resample.
        weights: resamples from ``patient_resamples``.
    """
    return Estimate(float(statistic(counted_once(weights))[0]), percentile_interval(statistic(weights)))


def check_lengths(weights: Integer[np.ndarray, "R N"], **each: Sized) -> None:
    """Refuse arrays that do not have one entry per study.

    Raises:
        ValueError: an array has another length.
    """
    studies = weights.shape[1]
    for name, values in each.items():
        if len(values) != studies:
            raise ValueError(f"got {len(values)} {name}, expected one for each of the {studies} resampled studies")


def counted_once(weights: Integer[np.ndarray, "R N"]) -> Integer[np.ndarray, "1 N"]:
    """Return the weights that count each study once."""
    return np.ones((1, weights.shape[1]), dtype=np.int32)


def weighted_mean(values: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    """Return the mean of every resample over the studies whose value is not NaN; NaN if there are none."""
    numbers = as_float64(values)
    known = np.flatnonzero(~np.isnan(numbers))
    group = np.zeros_like(known)
    total = group_sums(group, known, weights, count=1, values=numbers[known])
    return ratio(total, group_sums(group, known, weights, count=1))[0]


def mean_interval(values: Float[Array, " N"], weights: Integer[np.ndarray, "R N"], level: float = 0.95) -> Interval:
    """Return the interval of a mean over studies, such as the share of queries that found their target.

    Args:
        values: value of each study, NaN where unknown.
        weights: resamples from ``patient_resamples``.
        level: share of resamples inside the interval.
    """
    return percentile_interval(weighted_mean(values, weights), level)


def group_sums(
    groups: Integer[np.ndarray, " M"],
    studies: Integer[np.ndarray, " M"],
    weights: Integer[np.ndarray, "R N"],
    *,
    count: int,
    values: Float[np.ndarray, " M"] | None = None,
) -> Shaped[np.ndarray, "{count} R"]:
    """Sum the weights of the studies of each group in every resample: integers, or floats with ``values``.

    Args:
        groups: group of each entry, from 0 to ``count - 1``.
        studies: column of ``weights`` of each entry; a study may be in several groups, or several times in one.
        weights: multiplicity of each study in each resample.
        count: number of groups.
        values: factors of the weights.
    """
    factors = np.ones(len(groups), dtype=np.int32) if values is None else values
    members = sparse.csr_array((factors, (groups, studies)), shape=(count, weights.shape[1]))
    return np.asarray(members @ np.ascontiguousarray(weights.T))


def running_sums(rows: Integer[np.ndarray, "K R"]) -> Integer[np.ndarray, "K R"]:
    """Add to each row all rows before it, in place: many times faster than ``cumsum`` across rows."""
    for before, row in pairwise(rows):
        row += before
    return rows


def ratio(part: Shaped[np.ndarray, "*S"], whole: Shaped[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Return a quotient of counts, NaN where the denominator is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
