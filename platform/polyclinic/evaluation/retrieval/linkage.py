"""Record linkage: match unlabelled files of two modalities that belong to one patient.

The task is that of Arora et al. (2023, "CLIPPINGS") for pairs of files; the assignment is that of Kuhn (1955).
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
    """Study ids and patient ids of the N files of one modality; the matching does not use them."""

    study_ids: Sequence[str]
    patient_ids: Sequence[str]


class Matching(NamedTuple):
    """One-to-one pairs of files: row of the first file, column of the second file, and score."""

    rows: Integer[np.ndarray, " K"]
    columns: Integer[np.ndarray, " K"]
    scores: Float[np.ndarray, " K"]


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """Precision and recall of the pairs that score at least each threshold, by descending threshold."""

    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LinkageQuality:
    """Quality of the asserted pairs.

    Attributes:
        pairs: number of true pairs, the denominator of the recall.
        right: number of asserted pairs that are correct.
        precision: share of the asserted pairs that are correct; NaN if no pair is asserted.
        recall: share of the true pairs that are asserted.
        f1: harmonic mean of precision and recall.
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
    """Result of linking the files of two modalities.

    Attributes:
        threshold: threshold chosen on another split; pairs with a lower score are not asserted.
        by_patient: quality if a pair of files of one patient counts as correct.
        by_study: quality if only a pair of files of one study counts as correct.
        curve: precision and recall by patient over all thresholds.
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
    """Return the geometric mean of ``p(column | row)`` and ``p(row | column)``, each a softmax over the given files.

    Training with a softmax over candidates does not determine a constant per query (van den Oord et al. 2018, section
    2.3), so some files have high scores with all others. The constant cancels within a query, but not in comparisons
    across queries, as made by a threshold over all pairs or by an assignment that must leave rows out. Posteriors are
    comparable across files. Like the precision, they decrease as a split has more files.

    Args:
        forward: logits of the N first files as queries against the M second files.
        backward: logits of the second files as queries against the first files.

    Returns:
        Scores from 0 to 1.

    Raises:
        ValueError: scores are not finite.
    """
    given_row = log_softmax(checked_scores(forward), axis=1)
    given_column = log_softmax(checked_scores(backward), axis=1).T
    return np.asarray(np.exp((given_row + given_column) / 2))


def one_to_one(scores: Float[Array, "N M"]) -> Matching:
    """Return the ``min(N, M)`` pairs with the largest total score in which no file occurs twice (Kuhn 1955).

    The total of the posteriors approximates the number of correct pairs. A total of their logarithms would sacrifice
    good pairs to improve very unlikely ones, which no threshold asserts.

    Args:
        scores: scores from ``linkage_scores``, of files in random order because ties favour equal positions.

    Raises:
        ValueError: scores are not finite.
    """
    values = checked_scores(scores)
    rows, columns = linear_sum_assignment(values, maximize=True)
    return Matching(rows, columns, values[rows, columns])


def same_patient(matching: Matching, first: Files, second: Files) -> Bool[np.ndarray, " K"]:
    """Return a mask of the matched pairs whose files belong to one patient."""
    return _equal(matching, first.patient_ids, second.patient_ids)


def common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the largest possible number of one-to-one pairs with equal ids."""
    return (Counter(first) & Counter(second)).total()


def precision_recall(scores: Float[np.ndarray, " K"], right: Bool[np.ndarray, " K"], pairs: int) -> PrecisionRecall:
    """Compute precision and recall at every threshold.

    Args:
        scores: scores of the matched pairs.
        right: mask of the correct pairs.
        pairs: number of true pairs; if it is 0, the recall is NaN.
    """
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    last = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    hits = np.cumsum(right[order])[last]
    recall = hits / pairs if pairs else np.full(len(hits), np.nan)
    return PrecisionRecall(
        thresholds=tuple(descending[last].tolist()),
        precision=tuple((hits / (last + 1)).tolist()),
        recall=tuple(recall.tolist()),
    )


def choose_threshold(curve: PrecisionRecall, precision: float | None = None) -> float:
    """Choose the threshold with the best F1, or the lowest one that reaches a precision; ties take the highest.

    Args:
        curve: precision and recall on the validation split.
        precision: required precision; None to maximise F1.

    Raises:
        ValueError: no threshold reaches the precision.
    """
    reached, recall = np.array(curve.precision), np.array(curve.recall)
    if precision is None:
        return curve.thresholds[int(np.argmax(_f1(reached, recall)))]
    sufficient = np.flatnonzero(reached >= precision)
    if not len(sufficient):
        raise ValueError(
            f"got precision {precision}, the validation split reaches at most {reached.max():.3f}; set `precision`"
        )
    return curve.thresholds[int(sufficient[-1])]


def linkage_report(
    *, matching: Matching, first: Files, second: Files, threshold: float, resamples: int, seed: int
) -> LinkageReport:
    """Measure precision, recall and F1 of the pairs that score at least a threshold, with 95 % intervals over patients.

    A pair belongs to the patient of its first file. The matching of all files is fixed: it is not repeated for each
    resample, which would contain duplicates of files.

    Args:
        matching: matching from ``one_to_one``.
        first: files of the rows.
        second: files of the columns.
        threshold: threshold chosen on another split.
        resamples: number of resamples of patients.
        seed: seed of the resamples.

    Raises:
        ValueError: there are no files, or there is less than one resample.
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
    first_counts, second_counts = Counter(first), Counter(second)
    hit = _equal(matching, first, second) & asserted
    # One value per first file, so that a resample of patients is a weighted sum.
    hits, stated = np.zeros(len(first)), np.zeros(len(first))
    hits[matching.rows], stated[matching.rows] = hit, asserted
    sought = np.array([min(first_counts[key], second_counts[key]) / first_counts[key] for key in first])
    pairs, right = common(first, second), int(hit.sum())
    precision, recall, f1 = _rates(right, int(asserted.sum()), pairs)
    draws = _rates(*(weighted_mean(values, weights) for values in (hits, stated, sought)))
    return LinkageQuality(
        pairs=pairs,
        right=right,
        precision=float(precision[0]),
        precision_ci95=percentile_interval(draws[0]),
        recall=float(recall[0]),
        recall_ci95=percentile_interval(draws[1]),
        f1=float(f1[0]),
        f1_ci95=percentile_interval(draws[2]),
        chance=sum(first_counts[key] * second_counts[key] for key in first_counts) / (len(first) * len(second)),
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
