"""Operating points: thresholds chosen on validation by a named rule, and the resulting rates on test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.confusion import weighted_confusion
from polyclinic.evaluation.metrics.intervals import Estimate, check_lengths
from polyclinic.evaluation.metrics.score_intervals import estimate_share, patient_codes

RULES = ("youden", "sensitivity", "specificity")


class Threshold(NamedTuple):
    """A threshold on a score; studies that score at least the threshold are flagged.

    Attributes:
        value: value of the threshold; NaN if the rule could not be met.
        rule: description of the rule that chose it.
        reason: reason why the value is NaN; None if it is not.
    """

    value: float
    rule: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Rates and counts at a threshold on a test split.

    Attributes:
        threshold: applied threshold; if its value is NaN, all rates are NaN.
        flagged: share of the studies at or above the threshold.
        true_positive: number of studies; like the other three counts, None if the threshold is NaN.
    """

    threshold: Threshold
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    flagged: Estimate
    true_positive: int | None
    false_positive: int | None
    true_negative: int | None
    false_negative: int | None


def operating_threshold(
    scores: Float[Array, " N"], labels: Float[Array, " N"], rule: str, at_least: float | None = None
) -> Threshold:
    """Choose a threshold among the scores of a validation split.

    ``youden`` maximises the sum of sensitivity and specificity (Youden 1950); of several maxima it takes the highest
    threshold. ``sensitivity`` takes the highest threshold that reaches the required sensitivity, which costs the least
    specificity. ``specificity`` takes the lowest threshold that reaches the required specificity.

    Args:
        scores: scores of the validation split, never of the reported split.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        rule: one of ``RULES``.
        at_least: required sensitivity or specificity; None for ``youden``.

    Returns:
        NaN with a reason if a class is absent, if no threshold that flags a study reaches the specificity, or if no
        threshold separates the classes better than chance (``youden``).

    Raises:
        ValueError: the rule is unknown, ``at_least`` is missing, superfluous or out of range, scores are not finite, or
            labels are other than 0, 1 and NaN.
    """
    name = _rule_in_words(rule, at_least)
    values, truth = checked_scores(scores), checked_labels(labels)
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if not positives or not negatives:
        return _unmet(name, f"the validation split has {positives} positive and {negatives} negative studies")
    candidates = np.unique(values[~np.isnan(truth)])
    counts = weighted_confusion(values, truth, candidates, np.ones((1, len(values)), dtype=np.int32))
    if rule == "youden":
        # Integer arithmetic, so that ties are exact.
        gain = counts.true_positive[:, 0] * negatives - counts.false_positive[:, 0] * positives
        if gain.max() <= 0:
            return _unmet(name, "no threshold separates the classes of the validation split better than chance")
        return Threshold(float(candidates[np.flatnonzero(gain == gain.max())[-1]]), name)
    if rule == "sensitivity":
        return Threshold(float(candidates[np.flatnonzero(counts.sensitivity[:, 0] >= at_least)[-1]]), name)
    sufficient = np.flatnonzero(counts.specificity[:, 0] >= at_least)
    if not len(sufficient):
        reached = counts.specificity.max()
        return _unmet(name, f"thresholds that flag any study of the validation split reach {reached:.4g} at most")
    return Threshold(float(candidates[sufficient[0]]), name)


def operating_points(
    *,
    scores: Float[Array, " N"],
    labels: Float[Array, " N"],
    thresholds: Sequence[Threshold],
    weights: Integer[np.ndarray, "R N"],
) -> tuple[OperatingPoint, ...]:
    """Compute rates and counts of a test split at each threshold, with 95 % score intervals over patients.

    The intervals reflect the sampling of the test split, not the choice of the thresholds, which are fixed.

    Args:
        scores: scores on the scale of the thresholds.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        thresholds: thresholds from ``operating_threshold``, or predefined ones.
        weights: resamples from ``patient_resamples``.

    Raises:
        ValueError: lengths differ, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    check_lengths(weights, scores=scores, labels=labels)
    values, truth, patients = checked_scores(scores), checked_labels(labels), patient_codes(weights)
    return tuple(_point(threshold, values, truth, patients) for threshold in thresholds)


def _point(
    threshold: Threshold,
    scores: Float[np.ndarray, " N"],
    labels: Float[np.ndarray, " N"],
    patients: Integer[np.ndarray, " N"],
) -> OperatingPoint:
    known, flagged, ill = ~np.isnan(labels), scores >= threshold.value, labels == 1
    defined = threshold.value == threshold.value

    def rate(hits: Bool[np.ndarray, " N"], among: Bool[np.ndarray, " N"]) -> Estimate:
        return estimate_share(hits, among & known & defined, patients)

    def count(rows: Bool[np.ndarray, " N"]) -> int | None:
        return int((rows & known).sum()) if defined else None

    return OperatingPoint(
        threshold=threshold,
        sensitivity=rate(flagged, ill),
        specificity=rate(~flagged, ~ill),
        ppv=rate(ill, flagged),
        npv=rate(~ill, ~flagged),
        flagged=rate(flagged, known),
        true_positive=count(flagged & ill),
        false_positive=count(flagged & ~ill),
        true_negative=count(~flagged & ~ill),
        false_negative=count(~flagged & ill),
    )


def _rule_in_words(rule: str, at_least: float | None) -> str:
    if rule not in RULES:
        raise ValueError(f"got rule {rule!r}, expected one of {RULES}; set the rule of the operating point")
    if rule == "youden":
        if at_least is not None:
            raise ValueError(f"got `at_least` {at_least} for rule 'youden', expected none; leave it out")
        return "youden"
    if at_least is None or not 0 < at_least <= 1:
        raise ValueError(f"got {rule} of at least {at_least}, expected above 0 and at most 1; set `at_least`")
    return f"{rule} of at least {at_least:g}"


def _unmet(rule: str, reason: str) -> Threshold:
    return Threshold(float("nan"), rule, reason)
