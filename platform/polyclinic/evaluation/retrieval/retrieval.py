"""Retrieval: rank of a study's own counterpart among the studies of other patients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float

from polyclinic.evaluation.metrics.arrays import Array, checked_scores
from polyclinic.evaluation.metrics.intervals import Interval, patient_resamples
from polyclinic.evaluation.metrics.score_intervals import estimate_share, patient_codes

ScoreRows: TypeAlias = Callable[[slice], np.ndarray | torch.Tensor]
"""Function from a slice of queries to rows of the score matrix, which need not be in memory as a complete matrix."""

_QUERIES_PER_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Positions of the targets of ``N`` queries among their candidates.

    Attributes:
        above: number of distractors that score above the target.
        tied: number of distractors that tie with the target.
        candidates: number of candidates, the target included.
    """

    above: np.ndarray
    tied: np.ndarray
    candidates: np.ndarray

    def ranks(self) -> Float[np.ndarray, " N"]:
        """Return mid-ranks from 1: each tie adds half a rank."""
        return 1 + self.above + self.tied / 2

    def normalised_ranks(self) -> Float[np.ndarray, " N"]:
        """Return ranks from 0 (above all distractors) to 1 (below all of them); NaN without distractors."""
        distractors = self.candidates - 1
        return np.where(distractors > 0, (self.ranks() - 1) / np.maximum(distractors, 1), np.nan)

    def credit(self, k: int) -> Float[np.ndarray, " N"]:
        """Return the probability that the target is among the first ``k`` if ties are ordered at random."""
        return np.clip((k - self.above) / (self.tied + 1), 0.0, 1.0)

    def reciprocal_ranks(self) -> Float[np.ndarray, " N"]:
        """Return the expected values of one over the rank if ties are ordered at random."""
        sums = _harmonic(int(self.candidates.max()))
        return (sums[self.above + self.tied + 1] - sums[self.above]) / (self.tied + 1)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Mean over queries of a value from 0 to 1, its 95 % interval over patients, and the chance level."""

    value: float
    ci95: Interval
    chance: float


@dataclass(frozen=True, kw_only=True)
class RetrievalResult:
    """Recall, mean reciprocal rank and median rank among a given number of candidates.

    Attributes:
        candidates: number of candidates including the target, averaged over queries because patients have different
            numbers of studies.
        recall: share of queries whose target is among the first k, by k, with the expected value under random order of
            ties; None unless every query has more than k candidates.
        mrr: mean of one over the rank of the target (Voorhees 1999).
        median_rank: median of the ranks from 1, with ties as mid-ranks.
    """

    candidates: float
    recall: dict[int, Accuracy | None]
    mrr: Accuracy
    median_rank: float


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """Retrieval among a few random candidates, and among all studies of other patients."""

    sampled: RetrievalResult
    all: RetrievalResult
    queries: int
    patients: int
    resamples: int
    seed: int


def retrieval_among(
    scores: Float[Array, "N N"], candidates: int, seed: int, same_patient: Bool[Array, "N N"]
) -> Float[np.ndarray, " N"]:
    """Rank each query's target among itself and ``candidates - 1`` random studies of other patients.

    Distractors depend only on the seed and the patients, so two models are compared with the same distractors.

    Args:
        scores: row i holds the scores of query i; its target is column i.
        candidates: number of candidates, the target included.
        seed: seed of the draw, which is without replacement.
        same_patient: mask of the pairs of studies from one patient, True on the diagonal.

    Returns:
        Mid-ranks from 1: each tie with a distractor counts half.

    Raises:
        ValueError: a query has fewer than ``candidates - 1`` studies of other patients, scores are not finite, there
            are fewer than two candidates, or the diagonal of ``same_patient`` is not True.
    """
    same = torch.as_tensor(same_patient).cpu().numpy()
    if not same.diagonal().all():
        raise ValueError("got a study with False on the diagonal of `same_patient`, expected True; set the diagonal")
    others = [np.flatnonzero(~row) for row in same]
    distractors = np.stack(list(_draws(others, candidates, seed)))
    return _place(checked_scores(scores), 0, distractors).ranks()


def retrieval_report(
    *,
    scores: Float[Array, "N N"] | ScoreRows,
    patient_ids: Sequence[str],
    candidates: int,
    resamples: int,
    seed: int,
    k: Sequence[int] = (1, 5, 10),
) -> RetrievalReport:
    """Measure recall at k and the median rank, with 95 % intervals over patients.

    Args:
        scores: scores of query i against every study in row i, with its target in column i; or a function that returns
            the rows of a slice of queries.
        patient_ids: patient id of each study; studies of the query's own patient are never its distractors.
        candidates: number of candidates, the target included.
        resamples: number of resamples of patients.
        seed: seed of the distractors and of the resamples.
        k: numbers of top-ranked candidates among which the target counts as retrieved.

    Raises:
        ValueError: a query has fewer than ``candidates - 1`` studies of other patients, rows and patient ids differ in
            length, scores are not finite, there are fewer than two candidates, or ``k`` is empty or below 1.
    """
    check_k(k)
    weights = patient_resamples(patient_ids, resamples, seed)
    patient = np.unique(np.asarray(patient_ids), return_inverse=True)[1]
    draws = _draws((np.flatnonzero(patient != code) for code in patient), candidates, seed)
    sampled, full = [], []
    for start, rows in _blocks(scores, len(patient)):
        sampled.append(_place(rows, start, np.stack([next(draws) for _ in rows])))
        full.append(_place_among_all(rows, start, patient))
    return RetrievalReport(
        sampled=retrieval_result(_joined(sampled), k, weights),
        all=retrieval_result(_joined(full), k, weights),
        queries=len(patient),
        patients=int(patient.max()) + 1,
        resamples=resamples,
        seed=seed,
    )


def place_among_all(scores: Float[Array, "N N"] | ScoreRows, patient_ids: Sequence[str]) -> Placement:
    """Place each query's target among itself and all studies of other patients.

    Args:
        scores: scores in the form that ``retrieval_report`` takes.
        patient_ids: patient id of each study.

    Raises:
        ValueError: rows and patient ids differ in length, or scores are not finite.
    """
    patient = np.unique(np.asarray(patient_ids), return_inverse=True)[1]
    return _joined([_place_among_all(rows, start, patient) for start, rows in _blocks(scores, len(patient))])


def check_k(k: Sequence[int]) -> None:
    """Refuse invalid values of k.

    Raises:
        ValueError: ``k`` is empty or includes a number below 1.
    """
    if not k or min(k) < 1:
        raise ValueError(f"got k {list(k)}, expected numbers of at least 1; set `k`, such as [1, 5, 10]")


def _blocks(scores: Array | ScoreRows, studies: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first query of each block and the block's rows."""
    for start in range(0, studies, _QUERIES_PER_BLOCK):
        yield start, _rows(scores, slice(start, min(start + _QUERIES_PER_BLOCK, studies)), studies)


def _rows(scores: Array | ScoreRows, block: slice, studies: int) -> np.ndarray:
    rows = checked_scores(scores(block) if callable(scores) else scores[block])
    if rows.shape != (block.stop - block.start, studies):
        raise ValueError(
            f"got score rows of shape {rows.shape} for {block.stop - block.start} queries, expected one column for "
            f"each of {studies} patient ids; give `patient_ids` of the scored studies"
        )
    return rows


def _draws(others: Sequence[np.ndarray] | Iterator[np.ndarray], candidates: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the columns of each query's distractors, in the order of the queries."""
    if candidates < 2:
        raise ValueError(f"got {candidates} candidates, expected at least 2; set `candidates`")
    rng = np.random.default_rng(seed)
    for eligible in others:
        if len(eligible) < candidates - 1:
            raise ValueError(
                f"got {len(eligible)} studies of other patients for a query, expected at least {candidates - 1}; set "
                f"`candidates` to at most {len(eligible) + 1}, or evaluate a larger split"
            )
        yield rng.choice(eligible, size=candidates - 1, replace=False)


def _place(rows: np.ndarray, start: int, distractors: np.ndarray) -> Placement:
    """Place the targets of queries ``start`` onwards among their distractors, given as a row of columns per query."""
    query = np.arange(len(rows))
    target = rows[query, start + query][:, None]
    drawn = np.take_along_axis(rows, distractors, axis=1)
    candidates = np.full(len(rows), distractors.shape[1] + 1)
    return Placement(above=(drawn > target).sum(axis=1), tied=(drawn == target).sum(axis=1), candidates=candidates)


def _place_among_all(rows: np.ndarray, start: int, patient: np.ndarray) -> Placement:
    """Place the targets of queries ``start`` onwards among every study of another patient."""
    query = np.arange(len(rows))
    target = rows[query, start + query][:, None]
    other = patient[start + query][:, None] != patient[None, :]
    return Placement(
        above=((rows > target) & other).sum(axis=1),
        tied=((rows == target) & other).sum(axis=1),
        candidates=1 + other.sum(axis=1),
    )


def _joined(parts: Sequence[Placement]) -> Placement:
    return Placement(
        above=np.concatenate([part.above for part in parts]),
        tied=np.concatenate([part.tied for part in parts]),
        candidates=np.concatenate([part.candidates for part in parts]),
    )


def retrieval_result(placement: Placement, k: Sequence[int], weights: np.ndarray) -> RetrievalResult:
    """Measure recall at each k and the mean reciprocal rank, with their intervals, and the median rank.

    Args:
        placement: positions of the targets of N queries.
        k: numbers of top-ranked candidates among which the target counts as retrieved.
        weights: ``patient_resamples`` of these queries.
    """
    fewest, candidates = placement.candidates.min(), placement.candidates
    return RetrievalResult(
        candidates=float(candidates.mean()),
        recall={
            first: _accuracy(placement.credit(first), np.minimum(1.0, first / candidates), weights)
            if fewest > first
            else None
            for first in k
        },
        mrr=_accuracy(placement.reciprocal_ranks(), _harmonic(int(candidates.max()))[candidates] / candidates, weights),
        median_rank=float(np.median(placement.ranks())),
    )


def _accuracy(values: Float[np.ndarray, " N"], chance: Float[np.ndarray, " N"], weights: np.ndarray) -> Accuracy:
    mean = estimate_share(values, np.ones(len(values), dtype=bool), patient_codes(weights))
    return Accuracy(value=mean.value, ci95=mean.ci95, chance=float(chance.mean()))


def _harmonic(largest: int) -> Float[np.ndarray, " H"]:
    """Return the sums of one over the numbers from 1 to each number up to the largest."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, largest + 1))])
