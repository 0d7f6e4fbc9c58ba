"""Tests of the difference between two runs on the same studies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Integer
from scipy.stats import norm

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.auroc import placement_values
from polyclinic.evaluation.metrics.intervals import (
    Estimate,
    Interval,
    check_lengths,
    counted_once,
    percentile_interval,
)
from polyclinic.evaluation.metrics.score_intervals import fewest_patients

WeightedMetric: TypeAlias = Callable[
    [Float[np.ndarray, " N"], Float[np.ndarray, " N"], Integer[np.ndarray, "R N"]], Float[np.ndarray, " R"]
]
"""Function from scores, labels and weights to one value per resample, such as ``weighted_auroc``."""

FEWEST_PATIENTS = 5
"""Minimum number of patients per class for a comparison of two runs."""


class AurocVariance(NamedTuple):
    """An AUROC and its variance: both NaN if a class is absent, the variance also if a class has a single study."""

    auroc: float
    variance: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A metric of two runs on the same studies.

    Attributes:
        method: ``delong`` or ``paired bootstrap``.
        first: value of the first run.
        second: value of the second run.
        difference: first minus second, with its 95 % interval.
        p_value: two-sided p value under the hypothesis of no difference; NaN where it is undefined.
    """

    method: str
    first: float
    second: float
    difference: Estimate
    p_value: float


def delong_variance(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> AurocVariance:
    """Estimate an AUROC and its variance (DeLong et al. 1988) from midranks (Sun and Xu 2014).

    Studies are assumed to be independent; with several studies per patient the variance is too small.

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    of_positives, of_negatives = placement_values(checked_scores(scores), checked_labels(labels))
    return AurocVariance(_mean(of_positives), _variance_of_mean(of_positives) + _variance_of_mean(of_negatives))


def delong_test(first: Float[Array, " N"], second: Float[Array, " N"], labels: Float[Array, " N"]) -> Comparison:
    """Compare two correlated AUROCs (DeLong et al. 1988, equations 4 to 6) from midranks (Sun and Xu 2014).

    Studies are assumed to be independent. With several studies per patient the p value is too small and the interval
    too narrow; use ``paired_bootstrap`` over patients instead.

    Args:
        first: scores of the first run.
        second: scores of the second run on the same studies.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Returns:
        The comparison; its p value is NaN if the difference has no variance, as with equal or two perfect rankings.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    truth = checked_labels(labels)
    ours, theirs = (placement_values(checked_scores(scores), truth) for scores in (first, second))
    # Differences of placement values already include the covariance, so it need not be estimated separately.
    positives, negatives = (mine - other for mine, other in zip(ours, theirs, strict=True))
    error = np.sqrt(_variance_of_mean(positives) + _variance_of_mean(negatives))
    difference = _mean(ours[0]) - _mean(theirs[0])
    half_width = float(norm.ppf(0.975) * error)
    return Comparison(
        method="delong",
        first=_mean(ours[0]),
        second=_mean(theirs[0]),
        difference=Estimate(difference, Interval(difference - half_width, difference + half_width, 0)),
        p_value=float(2 * norm.sf(abs(difference) / error)) if error > 0 else float("nan"),
    )


def paired_bootstrap(
    metric: WeightedMetric,
    first: Float[Array, " N"],
    second: Float[Array, " N"],
    labels: Float[Array, " N"],
    weights: Integer[np.ndarray, "R N"],
) -> Comparison:
    """Compare a metric of two runs over the same resamples of patients.

    The p value is twice the smaller of the shares of resamples at or below, and at or above, no difference. One
    resample is added to each count, so that the p value is never 0 (Davison and Hinkley 1997, section 4.2). It is at
    most 0.05 approximately where the interval excludes 0.

    Args:
        metric: any weighted metric, with its other arguments bound.
        first: scores of the first run.
        second: scores of the second run on the same studies.
        labels: 0, 1, or NaN where unknown.
        weights: resamples from ``patient_resamples``.

    Returns:
        The comparison. Its interval leaves out, and counts, the resamples in which the metric is undefined for a run.
        With fewer than ``FEWEST_PATIENTS`` patients in a class, interval and p value are NaN: the resamples would
        hardly vary the smaller class and suggest a certainty that the data do not support.

    Raises:
        ValueError: lengths differ, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    check_lengths(weights, first=first, second=second, labels=labels)
    truth, runs = checked_labels(labels), (checked_scores(first), checked_scores(second))
    ours, theirs = (float(metric(scores, truth, counted_once(weights))[0]) for scores in runs)
    draws = np.subtract(*(metric(scores, truth, weights) for scores in runs))
    if fewest_patients(truth, weights) < FEWEST_PATIENTS:
        draws = np.full(len(draws), np.nan)
    defined = draws[~np.isnan(draws)]
    smaller = min((defined <= 0).sum(), (defined >= 0).sum())
    return Comparison(
        method="paired bootstrap",
        first=ours,
        second=theirs,
        difference=Estimate(ours - theirs, percentile_interval(draws)),
        p_value=min(1.0, float(2 * (smaller + 1) / (len(defined) + 1))) if len(defined) else float("nan"),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _variance_of_mean(values: np.ndarray) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else float("nan")
