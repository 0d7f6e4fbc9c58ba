import json
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from polyclinic.evaluation import (
    Accuracy,
    RetrievalResult,
    as_json,
    print_retrieval,
    retrieval_among,
    retrieval_report,
)


def same_patient(ids: list[str]) -> np.ndarray:
    return np.array([[row == column for column in ids] for row in ids])


def recall(result: RetrievalResult, k: int) -> Accuracy:
    accuracy = result.recall[k]
    assert accuracy is not None
    return accuracy


SINGLES = [f"p{row}" for row in range(40)]
PAIRS = [f"p{row // 2}" for row in range(40)]


def test_perfect_worst_and_constant_scores() -> None:
    same = same_patient(SINGLES)
    perfect, worst, constant = np.eye(40), -np.eye(40), np.zeros((40, 40))
    np.testing.assert_array_equal(retrieval_among(perfect, 10, 0, same), np.ones(40))
    np.testing.assert_array_equal(retrieval_among(worst, 10, 0, same), np.full(40, 10))
    np.testing.assert_array_equal(retrieval_among(constant, 10, 0, same), np.full(40, 5.5))


def test_distractors_are_distinct_and_never_of_the_same_patient() -> None:
    """The scores do not depend on the query, so the better studies of other patients are known for each query."""
    ids = ["a", "a", "b", "c", "d", "e"]
    scores = np.tile(np.arange(6.0), (6, 1))
    # There are four studies of other patients than `a`, so a study of `a` has at most five candidates.
    with pytest.raises(ValueError, match="got 4 studies of other patients"):
        retrieval_among(scores, 6, 0, same_patient(ids))
    ranks = np.stack([retrieval_among(scores, 4, seed, same_patient(ids)) for seed in range(200)])
    # Four studies of other patients beat the studies 0 and 1 of `a`, so all three distinct distractors do.
    assert (ranks[:, :2] == 4).all()
    # One of the five distractors of study 4 is better (5): three draws without replacement include it or do not.
    assert set(ranks[:, 4]) == {1, 2}
    assert (ranks[:, 5] == 1).all()
    # Hypergeometric mean: three draws of five, two of which are better than study 3.
    assert ranks[:, 3].mean() == pytest.approx(1 + 3 * 2 / 5, abs=0.12)


def test_another_study_of_the_patient_is_not_a_distractor() -> None:
    scores = np.eye(40) + 5.0 * (same_patient(PAIRS) & ~np.eye(40, dtype=bool))
    assert (retrieval_among(torch.tensor(scores), 20, 0, torch.tensor(same_patient(PAIRS))) == 1).all()
    report = retrieval_report(scores=scores, patient_ids=PAIRS, candidates=10, resamples=50, seed=0)
    assert (recall(report.sampled, 1).value, recall(report.all, 1).value, report.all.candidates) == (1.0, 1.0, 39.0)
    assert (report.queries, report.patients) == (40, 20)


def test_the_draw_depends_on_the_seed_only() -> None:
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=(40, 40)), same_patient(PAIRS)
    ranks = retrieval_among(scores, 10, 5, same)
    np.testing.assert_array_equal(ranks, retrieval_among(scores * 3 + 1, 10, 5, same))
    np.testing.assert_array_equal(retrieval_among(-scores, 10, 5, same), 11 - ranks)
    assert (ranks != retrieval_among(scores, 10, 6, same)).any()


def test_report_of_planted_ranks_among_all() -> None:
    """Query i has exactly i better distractors, so all results are known."""
    size = 12
    scores = np.zeros((size, size))
    for query in range(size):
        better = [column for column in range(size) if column != query][:query]
        scores[query, query], scores[query, better] = 1.0, 2.0
    ids = [str(row) for row in range(size)]
    report = retrieval_report(scores=scores, patient_ids=ids, candidates=4, resamples=400, seed=0)
    assert recall(report.all, 1).value == pytest.approx(1 / 12)
    assert recall(report.all, 5).value == pytest.approx(5 / 12)
    assert (recall(report.all, 1).chance, recall(report.all, 5).chance) == pytest.approx((1 / 12, 5 / 12))
    assert report.all.median_rank == 6.5
    harmonic = sum(1 / rank for rank in range(1, 13)) / 12
    assert (report.all.mrr.value, report.all.mrr.chance) == pytest.approx((harmonic, harmonic))
    assert report.all.mrr.ci95.low < harmonic < report.all.mrr.ci95.high
    assert report.sampled.recall[5] is None
    assert report.sampled.candidates == 4.0
    assert recall(report.all, 5).ci95.low < 5 / 12 < recall(report.all, 5).ci95.high


def test_ties_give_the_expected_credit() -> None:
    scores, ids = np.zeros((40, 40)), SINGLES
    report = retrieval_report(scores=scores, patient_ids=ids, candidates=10, resamples=20, seed=0)
    assert recall(report.sampled, 1).value == pytest.approx(0.1)
    assert recall(report.sampled, 5).value == pytest.approx(0.5)
    assert recall(report.all, 1).value == pytest.approx(1 / 40)
    assert report.sampled.mrr.value == pytest.approx(sum(1 / rank for rank in range(1, 11)) / 10)


def test_random_scores_retrieve_at_chance() -> None:
    size = 900
    scores = np.random.default_rng(2).normal(size=(size, size))
    ids = [f"p{row // 3}" for row in range(size)]
    report = retrieval_report(scores=scores, patient_ids=ids, candidates=10, resamples=200, seed=0)
    # Three standard errors of a share over 900 queries.
    assert recall(report.sampled, 1).value == pytest.approx(0.1, abs=0.03)
    assert recall(report.sampled, 5).value == pytest.approx(0.5, abs=0.05)
    assert report.all.median_rank == pytest.approx(898 / 2 + 0.5, abs=39)
    assert recall(report.sampled, 1).chance == pytest.approx(0.1)
    assert recall(report.all, 1).chance == pytest.approx(1 / 898)


def test_function_of_rows_gives_the_report_of_the_matrix() -> None:
    size = 700
    scores = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    ids = [f"p{row // 2}" for row in range(size)]
    block_sizes: list[int] = []

    def rows(block: slice) -> torch.Tensor:
        block_sizes.append(block.stop - block.start)
        return scores[block]

    by_function = retrieval_report(scores=rows, patient_ids=ids, candidates=8, resamples=10, seed=1)
    assert by_function == retrieval_report(scores=scores, patient_ids=ids, candidates=8, resamples=10, seed=1)
    assert sum(block_sizes) == size
    assert max(block_sizes) < size
    ranks = retrieval_among(scores, 8, 1, same_patient(ids))
    assert recall(by_function.sampled, 1).value == pytest.approx((ranks == 1).mean())
    assert by_function.sampled.median_rank == np.median(ranks)
    assert by_function.sampled.mrr.value == pytest.approx((1 / ranks).mean())


def test_errors_name_the_setting_to_change() -> None:
    scores = np.zeros((40, 40))
    with pytest.raises(ValueError, match="at least 2; set `candidates`"):
        retrieval_among(scores, 1, 0, same_patient(SINGLES))
    with pytest.raises(
        ValueError, match=r"38 studies of other patients .* at least 39; set `candidates` to at most 39"
    ):
        retrieval_report(scores=scores, patient_ids=PAIRS, candidates=40, resamples=10, seed=0)
    with pytest.raises(ValueError, match="diagonal"):
        retrieval_among(scores, 5, 0, np.zeros((40, 40), dtype=bool))
    with pytest.raises(ValueError, match="each of 30 patient ids"):
        retrieval_report(scores=scores, patient_ids=SINGLES[:30], candidates=5, resamples=10, seed=0)


def test_recall_at_any_k_is_that_of_a_loop_over_sorted_candidates() -> None:
    rng = np.random.default_rng(3)
    scores, ids = rng.normal(size=(40, 40)), PAIRS
    report = retrieval_report(scores=scores, patient_ids=ids, candidates=7, resamples=10, seed=4, k=(2, 3, 30, 39))
    places = []
    for query in range(40):
        others = [column for column in range(40) if ids[column] != ids[query]]
        ordered = sorted([query, *others], key=lambda column: -scores[query, column])
        places.append(ordered.index(query))
    for k in (2, 3, 30):
        assert recall(report.all, k).value == pytest.approx(np.mean([place < k for place in places]), abs=1e-12)
        assert recall(report.all, k).chance == pytest.approx(k / 39, abs=1e-12)
    drawn = retrieval_among(scores, 7, 4, same_patient(ids))
    assert recall(report.sampled, 2).value == pytest.approx((drawn <= 2).mean(), abs=1e-12)
    assert report.all.recall[39] is None
    assert report.sampled.recall[30] is None
    assert report.all.median_rank == np.median(places) + 1


def test_wrong_k_is_refused() -> None:
    for k in ((1, 0), ()):
        with pytest.raises(ValueError, match=r"expected numbers of at least 1; set `k`"):
            retrieval_report(scores=np.eye(40), patient_ids=SINGLES, candidates=5, resamples=10, seed=0, k=k)


def test_table_and_json_show_the_result() -> None:
    report = retrieval_report(scores=np.eye(40), patient_ids=SINGLES, candidates=4, resamples=10, seed=0)
    console = Console(file=StringIO(), width=120)
    print_retrieval(report, console)
    rows = [line.split("│") for line in console.file.getvalue().splitlines() if line.startswith("│")]  # type: ignore[attr-defined]
    cells = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert cells[0] == ["4", "1.000", "1.0", "1", "1.000", "0.912 to 1.000", "0.250"]
    assert cells[1] == ["", "", "", "5", "-", "not more than 5", "-"]
    assert [row[:4] for row in cells[3:]] == [["40", "1.000", "1.0", "1"], ["", "", "", "5"], ["", "", "", "10"]]
    plain = as_json(report)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    recall = plain["sampled"]["recall"]
    assert (recall["5"], recall["10"]) == (None, None)
    assert (recall["1"]["value"], recall["1"]["chance"]) == (1.0, 0.25)
    assert recall["1"]["ci95"] == {"low": pytest.approx(1 / (1 + 1.96**2 / 40), abs=1e-4), "high": 1.0, "undefined": 0}
    assert plain["undefined_values"] == 0
