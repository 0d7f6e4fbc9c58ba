"""Confusion counts at thresholds, and the rates derived from them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.intervals import group_sums, ratio


class Confusion(NamedTuple):
    """Confusion counts at each of T thresholds in each of R resamples.

    Rates are NaN where the denominator is 0.
    """

    true_positive: Integer[np.ndarray, "T R"]
    false_positive: Integer[np.ndarray, "T R"]
    true_negative: Integer[np.ndarray, "T R"]
    false_negative: Integer[np.ndarray, "T R"]

    @property
    def sensitivity(self) -> Float[np.ndarray, "T R"]:
        """Share of the studies with the finding that are flagged."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Float[np.ndarray, "T R"]:
        """Share of the studies without the finding that are not flagged."""
        return ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def ppv(self) -> Float[np.ndarray, "T R"]:
        """Positive predictive value: share of the flagged studies that have the finding."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def npv(self) -> Float[np.ndarray, "T R"]:
        """Negative predictive value: share of the unflagged studies that do not have the finding."""
        return ratio(self.true_negative, self.true_negative + self.false_negative)

    @property
    def flagged(self) -> Float[np.ndarray, "T R"]:
        """Share of all studies that are flagged."""
        return ratio(self.true_positive + self.false_positive, self.total)

    @property
    def total(self) -> Integer[np.ndarray, "T R"]:
        """Number of studies, counted with multiplicity."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative


def weighted_confusion(
    scores: Float[Array, " N"],
    labels: Float[Array, " N"],
    thresholds: Float[np.ndarray, " T"],
    weights: Integer[np.ndarray, "R N"],
) -> Confusion:
    """Count every resample at every threshold; a study is flagged if its score is at least the threshold.

    Args:
        scores: scores on the scale of the thresholds.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        thresholds: thresholds in any order.
        weights: multiplicity of each study in each resample.

    Raises:
        ValueError: a threshold is NaN, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    if np.isnan(thresholds).any():
        raise ValueError("got a threshold that is NaN, expected a number; leave out thresholds that no rule could set")
    values, truth = checked_scores(scores), checked_labels(labels)
    order = np.argsort(thresholds)
    reached = np.searchsorted(thresholds[order], values, side="right")
    # Row k of the sums from the right counts the studies that reach at least k thresholds.
    place = np.argsort(order) + 1
    counts = []
    for label in (1, 0):
        studies = np.flatnonzero(truth == label)
        reaching = group_sums(reached[studies], studies, weights, count=len(thresholds) + 1)
        at_least = np.cumsum(reaching[::-1], axis=0)[::-1]
        counts.append((at_least[place], at_least[0] - at_least[place]))
    (true_positive, false_negative), (false_positive, true_negative) = counts
    return Confusion(true_positive, false_positive, true_negative, false_negative)
