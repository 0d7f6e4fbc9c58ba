"""Counts of right and wrong decisions at thresholds, and the rates of them that clinicians read."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.intervals import group_sums, ratio


class Confusion(NamedTuple):
    """Studies by what is decided and what is true, at each of T thresholds in each of R resamples.

    Rates are NaN where nobody is in the denominator.
    """

    true_positive: Integer[np.ndarray, "T R"]
    false_positive: Integer[np.ndarray, "T R"]
    true_negative: Integer[np.ndarray, "T R"]
    false_negative: Integer[np.ndarray, "T R"]

    @property
    def sensitivity(self) -> Float[np.ndarray, "T R"]:
        """Share flagged of those with the finding."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Float[np.ndarray, "T R"]:
        """Share not flagged of those without the finding."""
        return ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def ppv(self) -> Float[np.ndarray, "T R"]:
        """Positive predictive value: share with the finding of those flagged."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def npv(self) -> Float[np.ndarray, "T R"]:
        """Negative predictive value: share without the finding of those not flagged."""
        return ratio(self.true_negative, self.true_negative + self.false_negative)

    @property
    def flagged(self) -> Float[np.ndarray, "T R"]:
        """Share flagged of all."""
        return ratio(self.true_positive + self.false_positive, self.total)

    @property
    def total(self) -> Integer[np.ndarray, "T R"]:
        """How many there are, resampled ones as often as they were drawn."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative


def weighted_confusion(
    scores: Float[Array, " N"],
    labels: Float[Array, " N"],
    thresholds: Float[np.ndarray, " T"],
    weights: Integer[np.ndarray, "R N"],
) -> Confusion:
    """Counts of every resample at every threshold; a study is flagged where its score is at least the threshold.

    Args:
        scores: any measure on the scale of the thresholds.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        thresholds: in any order.
        weights: how often each study counts in each resample.

    Raises:
        ValueError: a threshold is NaN, scores that are not finite, or labels other than 0, 1 and NaN.
    """
    if np.isnan(thresholds).any():
        raise ValueError("got a threshold that is NaN, expected a number; leave out what no rule could set")
    values, truth = checked_scores(scores), checked_labels(labels)
    order = np.argsort(thresholds)
    reached = np.searchsorted(thresholds[order], values, side="right")
    # Row k of what is cumulated from the right holds the studies that reach more than k thresholds.
    place = np.argsort(order) + 1
    counts = []
    for label in (1, 0):
        studies = np.flatnonzero(truth == label)
        reaching = group_sums(reached[studies], studies, weights, count=len(thresholds) + 1)
        at_least = np.cumsum(reaching[::-1], axis=0)[::-1]
        counts.append((at_least[place], at_least[0] - at_least[place]))
    (true_positive, false_negative), (false_positive, true_negative) = counts
    return Confusion(true_positive, false_positive, true_negative, false_negative)
