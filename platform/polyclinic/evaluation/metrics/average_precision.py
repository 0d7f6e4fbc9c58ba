"""Average precision: the area under the precision-recall curve as a step function, without interpolation."""

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.intervals import group_sums, ratio, running_sums


def average_precision(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> float:
    """Average the precision at each threshold, weighted by the increase in recall; tied studies are flagged together.

    The chance level is the share of positive studies, so values of groups with different shares are not comparable.

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Returns:
        NaN if no study has the finding; 1 if every study has it.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    return float(average_precision_per_column(scores[:, None], labels[:, None])[0])


def average_precision_per_column(scores: Float[Array, "N C"], labels: Float[Array, "N C"]) -> Float[np.ndarray, " C"]:
    """Return the ``average_precision`` of each of ``C`` findings over the studies with a known label of that finding.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    once = np.ones((1, len(values)), dtype=np.int32)
    columns = zip(values.T, truth.T, strict=True)
    return np.array([weighted_average_precision(score, label, once)[0] for score, label in columns], dtype=np.float64)


def weighted_average_precision(
    scores: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Return the ``average_precision`` of every resample from one sort of the positive scores, exact even with ties.

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: multiplicity of each study in each resample.

    Returns:
        NaN for a resample without a positive study.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    # Recall increases only at the scores of positive studies.
    rises = np.unique(values[truth == 1])
    from_above = len(rises) - np.searchsorted(rises, values, side="right")
    positives = np.flatnonzero(truth == 1)
    at_or_above = np.flatnonzero(~np.isnan(truth) & (from_above < len(rises)))
    hits = group_sums(from_above[positives], positives, weights, count=len(rises))
    flagged = running_sums(group_sums(from_above[at_or_above], at_or_above, weights, count=len(rises)))
    total = hits.sum(axis=0)
    # Without flagged studies there are no hits either, so the precision has no effect there.
    precision = running_sums(hits.copy()) / np.maximum(flagged, 1)
    return ratio(np.einsum("kr,kr->r", hits, precision), total)
