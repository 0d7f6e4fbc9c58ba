"""Closed-form 95 % intervals over patients that remain wide when a class has few patients.

With one positive study, a percentile bootstrap varies only the negative ones and gives a deceptively narrow interval.
The intervals here invert a score test, so that a perfect separation of few patients has a lower limit far below 1.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.optimize import brentq
from scipy.stats import norm

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.auroc import auroc, placement_values
from polyclinic.evaluation.metrics.average_precision import weighted_average_precision
from polyclinic.evaluation.metrics.intervals import Estimate, Interval, estimate

LEVEL = 0.95
_Z = float(norm.ppf((1 + LEVEL) / 2))
_DISTANCE_FROM_BOUND = 1e-12
_MAX_CODE_RESAMPLES = 64
_NAN_INTERVAL = Interval(float("nan"), float("nan"), 0)


def patient_codes(weights: Integer[np.ndarray, "R N"]) -> Integer[np.ndarray, " N"]:
    """Return an integer code of each study's patient, recovered from ``patient_resamples``.

    Studies of one patient are drawn equally often in every resample. Two patients that agree by chance in all of the
    first 64 (a probability of about 0.31 to the power of 64) would be merged, which only widens the interval.
    """
    columns = weights[:_MAX_CODE_RESAMPLES].T.astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, size=columns.shape[1], dtype=np.uint64)
    return np.unique(columns @ factors, return_inverse=True)[1]


def fewest_patients(labels: Float[np.ndarray, " N"], weights: Integer[np.ndarray, "R N"]) -> int:
    """Return the number of patients in the smaller of the two classes."""
    patients = patient_codes(weights)
    return min(len(np.unique(patients[labels == label])) for label in (0, 1))


def estimate_auroc(
    scores: Float[Array, " N"], labels: Float[Array, " N"], patients: Integer[np.ndarray, " N"]
) -> Estimate:
    """Estimate an AUROC and its 95 % score interval (Newcombe 2006, part 2, method 5), corrected for clustering.

    The interval contains every value t with ``(auroc - t)^2 <= z^2 V(t)``, where V is the variance of Hanley and McNeil
    (1982) under exponential scores. At t = 1/2 that is the Mann-Whitney test: the interval excludes chance exactly
    when the test rejects it. To account for several studies per patient, the sizes of both classes are divided by the
    design effect: the ratio of the variance over patients (Obuchowski 1997) to that over studies (DeLong et al. 1988).

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        patients: patient of each study as an integer code, such as from ``patient_codes``.

    Returns:
        NaN with a NaN interval if a class is absent.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    value = auroc(values, truth)
    if np.isnan(value):
        return Estimate(value, _NAN_INTERVAL)
    effect = _auroc_design_effect(values, truth, patients)
    positives, negatives = (max(1.0, (truth == label).sum() / effect) for label in (1, 0))

    def variance(t: float) -> float:
        spread = max(0.0, (positives + negatives) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
        return t * (1 - t) * (1 + spread) / (positives * negatives)

    return Estimate(value, _inverted(value, variance))


def estimate_share(
    hits: Float[np.ndarray, " N"] | Bool[np.ndarray, " N"],
    among: Bool[np.ndarray, " N"],
    patients: Integer[np.ndarray, " N"],
) -> Estimate:
    """Estimate a mean of values from 0 to 1, such as a sensitivity, and its 95 % score interval (Wilson 1927).

    The number of studies is divided by the design effect over patients (Kish 1965, section 8.2), which is at least 1.

    Args:
        hits: value of each study, from 0 to 1.
        among: mask of the studies in the denominator.
        patients: patient of each study as an integer code.

    Returns:
        NaN with a NaN interval if no study is in the denominator.
    """
    values, clusters = np.asarray(hits, dtype=np.float64)[among], patients[among]
    if not len(values):
        return Estimate(float("nan"), _NAN_INTERVAL)
    value = float(values.mean())
    studies = len(values) / _share_design_effect(values, clusters)
    return Estimate(value, _inverted(value, lambda t: t * (1 - t) / studies))


def estimate_average_precision(
    scores: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Estimate:
    """Estimate the average precision and a 95 % interval: the hull of the bootstrap and the binomial interval.

    The bootstrap over patients does not vary the positive studies if there is only one. The binomial interval treats
    the average precision as a share of the positive studies (Boyd, Eng and Page 2013, section 3.2); here it is
    Wilson's score interval.

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: resamples from ``patient_resamples``.

    Returns:
        NaN with a NaN interval if no study has the finding.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    resampled = estimate(partial(weighted_average_precision, scores, labels), weights)
    if np.isnan(resampled.value):
        return resampled
    patients = patient_codes(weights)[checked_labels(labels) == 1]
    studies = len(patients) / _full_design_effect(patients)
    binomial = _inverted(resampled.value, lambda t: t * (1 - t) / studies)
    return Estimate(resampled.value, hull(resampled.ci95, binomial))


def difference_interval(first: Estimate, second: Estimate) -> Interval:
    """Return the interval of the first minus the second (MOVER; Zou and Donner 2008, section 2).

    The two are assumed to be independent; the interval is too wide if they are positively correlated.
    """
    low, high = (
        np.hypot(minuend.value - minuend.ci95.low, subtrahend.ci95.high - subtrahend.value)
        for minuend, subtrahend in ((first, second), (second, first))
    )
    difference = first.value - second.value
    return Interval(float(difference - low), float(difference + high), first.ci95.undefined + second.ci95.undefined)


def mean_of_estimates(parts: Sequence[Estimate]) -> Estimate:
    """Average independent estimates, with an interval (MOVER; Zou and Donner 2008); NaN if there are none."""
    if not parts:
        return Estimate(float("nan"), _NAN_INTERVAL)
    values = np.array([part.value for part in parts])
    low, high = (
        float(np.sqrt(np.square(values - [getattr(part.ci95, end) for part in parts]).sum()) / len(parts))
        for end in ("low", "high")
    )
    mean = float(values.mean())
    return Estimate(mean, Interval(mean - low, mean + high, 0))


def hull(first: Interval, second: Interval) -> Interval:
    """Return the shortest interval that contains both; an undefined interval is ignored."""
    return Interval(float(np.fmin(first.low, second.low)), float(np.fmax(first.high, second.high)), first.undefined)


def _inverted(value: float, variance: Callable[[float], float]) -> Interval:
    """Return the interval of all values t with ``(value - t)^2 <= z^2 variance(t)``."""

    def beyond(t: float) -> float:
        return (value - t) ** 2 - _Z**2 * variance(t)

    # The variance is 0 at 0 and 1, so these always satisfy the equation; the limit lies strictly between them.
    low = 0.0 if value <= 0 else float(brentq(beyond, 0.0, min(value, 1 - _DISTANCE_FROM_BOUND)))
    high = 1.0 if value >= 1 else float(brentq(beyond, max(value, _DISTANCE_FROM_BOUND), 1.0))
    return Interval(low, high, 0)


def _auroc_design_effect(
    scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"], patients: Integer[np.ndarray, " N"]
) -> float:
    classes = [patients[labels == label] for label in (1, 0)]
    largest = max(_full_design_effect(members) for members in classes)
    if largest == 1:
        return 1.0
    centred = [(values - values.mean()) / len(values) for values in placement_values(scores, labels)]
    studies = sum(float(np.square(values).sum()) for values in centred)
    if studies == 0:
        return largest
    sums = np.bincount(np.concatenate(classes), weights=np.concatenate(centred))
    return float(np.clip(np.square(sums).sum() / studies, 1.0, largest))


def _share_design_effect(values: Float[np.ndarray, " n"], patients: Integer[np.ndarray, " n"]) -> float:
    largest, deviations = _full_design_effect(patients), values - values.mean()
    studies = float(np.square(deviations).sum())
    if studies == 0:
        return largest
    return float(np.clip(np.square(np.bincount(patients, weights=deviations)).sum() / studies, 1.0, largest))


def _full_design_effect(patients: Integer[np.ndarray, " n"]) -> float:
    """Return the design effect if all studies of a patient agree: their number, averaged over studies."""
    counts = np.unique(patients, return_counts=True)[1]
    return float(np.square(counts).sum() / counts.sum())
