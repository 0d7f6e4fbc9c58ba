"""Record linkage: which unlabelled files of two modalities belong to one patient (the task of Arora et al. 2023,
"CLIPPINGS", for pairs of files; the assignment is that of Kuhn 1955).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax

from polyclinic.evaluation.metrics.arrays import Array, checked_scores
from polyclinic.evaluation.metrics.intervals import (
    Interval,
    patient_resamples,
    percentile_interval,
    ratio,
    weighted_mean,
)


class Files(NamedTuple):
    """Studies and patients of the N files of one modality, hidden from the matching."""

    study_ids: Sequence[str]
    patient_ids: Sequence[str]


class Matching(NamedTuple):
    """One-to-one pairs of files: place of the first, place of the second, score."""

    rows: Integer[np.ndarray, " K"]
    columns: Integer[np.ndarray, " K"]
    scores: Float[np.ndarray, " K"]


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """Precision and recall of the pairs that score at least each threshold, by falling threshold."""

    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LinkageQuality:
    """How right the asserted pairs are.

    Attributes:
        pairs: how many pairs there are to be found.
        right: asserted pairs that are right.
        precision: right ones among the asserted; NaN where nothing is asserted.
        recall: right ones among those to be found.
        f1: their harmonic mean.
        chance: precision of a random one-to-one matching.
    """

    pairs: int
    right: int
    precision: float
    precision_ci95: Interval
    recall: float
    recall_ci95: Interval
    f1: float
    f1_ci95: Interval
    chance: float


@dataclass(frozen=True, kw_only=True)
class LinkageReport:
    """Linkage of the files of two modalities.

    Attributes:
        threshold: from another split; pairs that score less are not asserted.
        by_patient: a pair is right when both files are of one patient.
        by_study: a pair is right when both files are of one study.
        curve: by patient, over all thresholds.
    """

    first_files: int
    second_files: int
    asserted: int
    threshold: float
    by_patient: LinkageQuality
    by_study: LinkageQuality
    curve: PrecisionRecall
    patients: int
    resamples: int
    seed: int


def linkage_scores(forward: Float[Array, "N M"], backward: Float[Array, "M N"]) -> Float[np.ndarray, "N M"]:
    """Geometric mean of ``p(column | row)`` and ``p(row | column)``, each a softmax over the files that are there.

    Training with a softmax over candidates leaves a constant per query open (van den Oord et al. 2018, section 2.3),
    so that some files score high with everything. It cancels within one query, but one threshold over all pairs, and
    an assignment that must leave rows out, compare across queries. A posterior means the same for every file, and
    falls as a split has more files among which to be wrong, as the precision does.

    Args:
        forward: logits of the N first files as queries against the M second ones.
        backward: logits of the second files as queries against the first ones.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: scores are not finite.
    """
    given_row = log_softmax(checked_scores(forward), axis=1)
    given_column = log_softmax(checked_scores(backward), axis=1).T
    return np.asarray(np.exp((given_row + given_column) / 2))


def one_to_one(scores: Float[Array, "N M"]) -> Matching:
    """The ``min(N, M)`` pairs of largest total score in which no file occurs twice (Kuhn 1955).

    A total of posteriors is about the number of pairs that will be right. A total of their logarithms would give up
    good pairs to make hopeless ones, which no threshold asserts, less hopeless.

    Args:
        scores: from ``linkage_scores``, of files in random order: ties favour equal places.

    Raises:
        ValueError: scores are not finite.
    """
    values = checked_scores(scores)
    rows, columns = linear_sum_assignment(values, maximize=True)
    return Matching(rows, columns, values[rows, columns])


def same_patient(matching: Matching, first: Files, second: Files) -> Bool[np.ndarray, " K"]:
    """Which matched pairs are of one patient."""
    return _equal(matching, first.patient_ids, second.patient_ids)


def common(first: Sequence[str], second: Sequence[str]) -> int:
    """Largest number of one-to-one pairs with equal ids."""
    return (Counter(first) & Counter(second)).total()


def precision_recall(scores: Float[np.ndarray, " K"], right: Bool[np.ndarray, " K"], pairs: int) -> PrecisionRecall:
    """Precision and recall at every threshold.

    Args:
        scores: of the matched pairs.
        right: which of them are right.
        pairs: how many there are to be found; the recall is NaN where there are none.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    hits = np.cumsum(right[order])[last]
    recall = hits / pairs if pairs else np.full(len(hits), np.nan)
    return PrecisionRecall(
        thresholds=tuple(falling[last].tolist()),
        precision=tuple((hits / (last + 1)).tolist()),
        recall=tuple(recall.tolist()),
    )


def choose_threshold(curve: PrecisionRecall, precision: float | None = None) -> float:
    """The threshold of the best F1, or the lowest one that reaches a precision; of equal F1, the highest one.

    Args:
        curve: of the validation split.
        precision: to reach.

    Raises:
        ValueError: no threshold reaches the precision.
    """
    reached, recall = np.array(curve.precision), np.array(curve.recall)
    if precision is None:
        return curve.thresholds[int(np.argmax(_f1(reached, recall)))]
    enough = np.flatnonzero(reached >= precision)
    if not len(enough):
        raise ValueError(
            f"got precision {precision}, the validation split reaches at most {reached.max():.3f}; set `precision`"
        )
    return curve.thresholds[int(enough[-1])]


def linkage_report(
    *, matching: Matching, first: Files, second: Files, threshold: float, resamples: int, seed: int
) -> LinkageReport:
    """Precision, recall and F1 of the pairs that score at least a threshold, with 95 % intervals over patients.

    A pair counts for the patient of its first file. The matching is made once, of all files, and not again for each
    resample, in which a file would be its own double.

    Args:
        matching: from ``one_to_one``.
        first: of the rows.
        second: of the columns.
        threshold: chosen on another split.
        resamples: number of resamples of patients.
        seed: seed of the resamples.

    Raises:
        ValueError: no file, or fewer than one resample.
    """
    asserted = matching.scores >= threshold
    weights = patient_resamples(first.patient_ids, resamples, seed)
    by_patient, by_study = (
        _quality(matching, asserted, ids, weights)
        for ids in ((first.patient_ids, second.patient_ids), (first.study_ids, second.study_ids))
    )
    return LinkageReport(
        first_files=len(first.study_ids),
        second_files=len(second.study_ids),
        asserted=int(asserted.sum()),
        threshold=threshold,
        by_patient=by_patient,
        by_study=by_study,
        curve=precision_recall(matching.scores, same_patient(matching, first, second), by_patient.pairs),
        patients=len(set(first.patient_ids)),
        resamples=resamples,
        seed=seed,
    )


def _quality(
    matching: Matching, asserted: np.ndarray, ids: tuple[Sequence[str], Sequence[str]], weights: np.ndarray
) -> LinkageQuality:
    first, second = ids
    there, count = Counter(first), Counter(second)
    hit = _equal(matching, first, second) & asserted
    # One value per first file, so that a resample of patients is a weighted sum.
    found, stated = np.zeros(len(first)), np.zeros(len(first))
    found[matching.rows], stated[matching.rows] = hit, asserted
    sought = np.array([min(there[one], count[one]) / there[one] for one in first])
    pairs, right = common(first, second), int(hit.sum())
    precision, recall, f1 = _rates(right, int(asserted.sum()), pairs)
    draws = _rates(*(weighted_mean(values, weights) for values in (found, stated, sought)))
    return LinkageQuality(
        pairs=pairs,
        right=right,
        precision=float(precision[0]),
        precision_ci95=percentile_interval(draws[0]),
        recall=float(recall[0]),
        recall_ci95=percentile_interval(draws[1]),
        f1=float(f1[0]),
        f1_ci95=percentile_interval(draws[2]),
        chance=sum(there[one] * count[one] for one in there) / (len(first) * len(second)),
    )


def _rates(
    right: float | np.ndarray, asserted: float | np.ndarray, sought: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hits, stated, wanted = (np.atleast_1d(np.asarray(count, dtype=np.float64)) for count in (right, asserted, sought))
    return ratio(hits, stated), ratio(hits, wanted), ratio(2 * hits, stated + wanted)


def _f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    return np.where(precision + recall > 0, 2 * precision * recall / np.maximum(precision + recall, 1e-300), 0.0)


def _equal(matching: Matching, first: Sequence[str], second: Sequence[str]) -> Bool[np.ndarray, " K"]:
    return np.asarray(first)[matching.rows] == np.asarray(second)[matching.columns]
