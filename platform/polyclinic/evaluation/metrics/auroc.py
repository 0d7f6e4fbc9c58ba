"""Area under the receiver operating characteristic as a Mann-Whitney statistic (Hanley and McNeil 1982)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata
from sklearn import metrics

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores


class Macro(NamedTuple):
    """Mean over the findings whose value is defined (NaN if there are none), and the number of these findings."""

    mean: float
    used: int


class RocCurve(NamedTuple):
    """Points of an ROC curve by descending threshold; the first threshold is infinite."""

    false_positive_rate: Float[np.ndarray, " T"]
    true_positive_rate: Float[np.ndarray, " T"]
    thresholds: Float[np.ndarray, " T"]


def auroc(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> float:
    """Return the probability that a positive study scores above a negative one, with ties counting half.

    Args:
        scores: scores that increase with the likelihood of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Returns:
        NaN if no study or every study has the finding.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    return float(auroc_per_column(scores[:, None], labels[:, None])[0])


def auroc_per_column(scores: Float[Array, "N C"], labels: Float[Array, "N C"]) -> Float[np.ndarray, " C"]:
    """Return the ``auroc`` of each of ``C`` findings over the studies with a known label of that finding.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    truth = checked_labels(labels)
    # Studies with an unknown label rank above all others, so they do not change the ranks of known ones.
    ranks = rankdata(np.where(np.isnan(truth), np.inf, checked_scores(scores)), axis=0)
    positives, negatives = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    wins = np.where(truth == 1, ranks, 0.0).sum(axis=0) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)


def macro_mean(values: Float[np.ndarray, " C"]) -> Macro:
    """Average the findings whose value is defined."""
    defined = values[~np.isnan(values)]
    return Macro(float(defined.mean()) if len(defined) else float("nan"), len(defined))


def roc_curve(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> RocCurve:
    """Return the points of the ROC curve for a figure, from scikit-learn.

    Raises:
        ValueError: a class is absent, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    known = ~np.isnan(truth)
    if len(set(truth[known])) < 2:
        raise ValueError(
            f"got {int((truth == 1).sum())} positive and {int((truth == 0).sum())} negative studies, expected at least "
            "one of each; leave this finding out of the figure"
        )
    return RocCurve(*metrics.roc_curve(truth[known], values[known], drop_intermediate=True))


def placement_values(
    scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " Q"]]:
    """Return the share of negatives below each positive study, and of positives above each negative one.

    Ties count half (DeLong et al. 1988, from midranks as in Sun and Xu 2014); NaN where the other class is absent.
    """
    positives, negatives = scores[labels == 1], scores[labels == 0]
    ranks = rankdata(np.concatenate([positives, negatives]))
    wins = ranks[: len(positives)] - rankdata(positives)
    losses = len(positives) - (ranks[len(positives) :] - rankdata(negatives))
    missing = float("nan")
    return (
        wins / len(negatives) if len(negatives) else np.full(len(wins), missing),
        losses / len(positives) if len(positives) else np.full(len(losses), missing),
    )
