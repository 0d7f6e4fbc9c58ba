"""Average precision: the area under the precision-recall curve as a sum of steps, without interpolation."""

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.intervals import group_sums, ratio, running_sums


def average_precision(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> float:
    """The precision at each rise of the recall, weighted by the rise; studies of equal score are flagged together.

    Its chance level is the share of positive studies, so that values of groups with other shares do not compare.

    Args:
        scores: any monotone measure of how likely the finding is.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.

    Returns:
        NaN, never 0, when no study has the finding; 1 when every study has it.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
    """
    return float(average_precision_per_column(scores[:, None], labels[:, None])[0])


def average_precision_per_column(scores: Float[Array, "N C"], labels: Float[Array, "N C"]) -> Float[np.ndarray, " C"]:
    """``average_precision`` of each of ``C`` findings, each over the studies whose label of that finding is known.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    once = np.ones((1, len(values)), dtype=np.int32)
    columns = zip(values.T, truth.T, strict=True)
    return np.array([weighted_average_precision(score, label, once)[0] for score, label in columns], dtype=np.float64)


def weighted_average_precision(
    scores: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """``average_precision`` of every resample, exact also with ties, from one sort of the positive scores.

    Args:
        scores: any monotone measure of how likely the finding is.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: how often each study counts in each resample.

    Returns:
        NaN for a resample without a positive study.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    # Recall rises at the scores of positive studies only.
    rises = np.unique(values[truth == 1])
    from_above = len(rises) - np.searchsorted(rises, values, side="right")
    positives = np.flatnonzero(truth == 1)
    at_or_above = np.flatnonzero(~np.isnan(truth) & (from_above < len(rises)))
    found = group_sums(from_above[positives], positives, weights, count=len(rises))
    flagged = running_sums(group_sums(from_above[at_or_above], at_or_above, weights, count=len(rises)))
    total = found.sum(axis=0)
    # Where nothing is flagged nothing is found, and any number does for the precision.
    precision = running_sums(found.copy()) / np.maximum(flagged, 1)
    return ratio(np.einsum("kr,kr->r", found, precision), total)
