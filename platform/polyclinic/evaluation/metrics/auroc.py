"""Area under the receiver operating characteristic as a Mann-Whitney statistic (Hanley and McNeil 1982)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata
from sklearn import metrics

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores


class Macro(NamedTuple):
    """A mean over findings and how many of them were defined; NaN over none."""

    mean: float
    used: int


class RocCurve(NamedTuple):
    """Points of the curve, by falling threshold; the first threshold is infinite."""

    false_positive_rate: Float[np.ndarray, " T"]
    true_positive_rate: Float[np.ndarray, " T"]
    thresholds: Float[np.ndarray, " T"]


def auroc(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> float:
    """The probability that a positive study scores above a negative one, ties counting half.

    Args:
        scores: any monotone measure of how likely the finding is.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.

    Returns:
        NaN, never 0, when no study or every study has the finding.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
    """
    return float(auroc_per_column(scores[:, None], labels[:, None])[0])


def auroc_per_column(scores: Float[Array, "N C"], labels: Float[Array, "N C"]) -> Float[np.ndarray, " C"]:
    """``auroc`` of each of ``C`` findings, each over the studies whose label of that finding is known.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
    """
    truth = checked_labels(labels)
    # Above every score, an unknown study takes no rank from a known one.
    ranks = rankdata(np.where(np.isnan(truth), np.inf, checked_scores(scores)), axis=0)
    positives, negatives = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    wins = np.where(truth == 1, ranks, 0.0).sum(axis=0) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)


def macro_mean(values: Float[np.ndarray, " C"]) -> Macro:
    """Mean of the findings whose value is defined, with their number."""
    defined = values[~np.isnan(values)]
    return Macro(float(defined.mean()) if len(defined) else float("nan"), len(defined))


def roc_curve(scores: Float[Array, " N"], labels: Float[Array, " N"]) -> RocCurve:
    """Points of the curve for a figure, from scikit-learn.

    Raises:
        ValueError: one of the two classes is absent, scores that are not finite, or other labels than 0, 1, NaN.
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
    """For each positive study the share of negatives it beats, for each negative one that of positives it loses to.

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
