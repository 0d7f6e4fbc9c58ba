"""Operating points: thresholds chosen on validation by a named rule, and what they mean on test."""

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
    """A threshold on a score, at and above which a study is flagged.

    Attributes:
        value: NaN where the rule could not be met.
        rule: how it was chosen, in words.
        reason: why it is NaN; None where it is not.
    """

    value: float
    rule: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Rates and counts at a threshold on a test split.

    Attributes:
        threshold: NaN makes every rate NaN.
        flagged: share of the studies at or above the threshold.
        true_positive: a number of studies; with the other three, None where the threshold is NaN.
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

    ``youden`` takes the largest sum of sensitivity and specificity (Youden 1950), of equal ones the highest
    threshold. ``sensitivity`` takes the highest threshold whose sensitivity is at least the wanted one, so that it
    costs the least specificity; ``specificity`` takes the lowest one whose specificity is.

    Args:
        scores: of the validation split, never of the split that is reported.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        rule: one of ``RULES``.
        at_least: the sensitivity or specificity to reach.

    Returns:
        NaN with a reason where a class is absent, where no threshold reaches the specificity and still flags a study,
        or where none separates the classes better than chance (``youden``).

    Raises:
        ValueError: an unknown rule, ``at_least`` that is missing, not wanted or out of range, scores that are not
            finite, or labels other than 0, 1 and NaN.
    """
    name = _rule_in_words(rule, at_least)
    values, truth = checked_scores(scores), checked_labels(labels)
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if not positives or not negatives:
        return _unmet(name, f"the validation split has {positives} positive and {negatives} negative studies")
    candidates = np.unique(values[~np.isnan(truth)])
    once = np.ones((1, len(values)), dtype=np.int32)
    counts = weighted_confusion(values, truth, candidates, once)
    if rule == "youden":
        # In integers, so that equal sums are equal.
        gain = counts.true_positive[:, 0] * negatives - counts.false_positive[:, 0] * positives
        if gain.max() <= 0:
            return _unmet(name, "no threshold separates the classes of the validation split better than chance")
        return Threshold(float(candidates[np.flatnonzero(gain == gain.max())[-1]]), name)
    if rule == "sensitivity":
        return Threshold(float(candidates[np.flatnonzero(counts.sensitivity[:, 0] >= at_least)[-1]]), name)
    enough = np.flatnonzero(counts.specificity[:, 0] >= at_least)
    if not len(enough):
        reached = counts.specificity.max()
        return _unmet(name, f"thresholds that flag any study of the validation split reach {reached:.4g} at most")
    return Threshold(float(candidates[enough[0]]), name)


def operating_points(
    *,
    scores: Float[Array, " N"],
    labels: Float[Array, " N"],
    thresholds: Sequence[Threshold],
    weights: Integer[np.ndarray, "R N"],
) -> tuple[OperatingPoint, ...]:
    """Rates and counts of a test split at each threshold, with 95 % score intervals over patients.

    Thresholds are fixed: the intervals cover sampling of the test split, not the choice of the thresholds.

    Args:
        scores: on the scale of the thresholds.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        thresholds: from ``operating_threshold``, or given.
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

    def count(those: Bool[np.ndarray, " N"]) -> int | None:
        return int((those & known).sum()) if defined else None

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
