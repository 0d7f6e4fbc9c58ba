"""Retrieval among predefined candidates, with planted scores."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from polyclinic.evaluation import CandidateSetReport, as_json, read_candidate_sets, retrieval_in_sets
from polyclinic.evaluation.tables import print_candidate_sets

STUDIES = ["s0", "s1", "s2", "s3", "s4", "s5"]
PATIENTS = {"s0": "p0", "s1": "p0", "s2": "p1", "s3": "p2", "s4": "p3", "s5": "p4"}
SETS = {"s0": ("s1", "s2"), "s1": ("s2", "s3"), "s2": ("s3", "s4"), "s3": ("s4", "s5")}


def report(
    scores: np.ndarray, sets: dict[str, tuple[str, ...]] = SETS, k: Sequence[int] = (1, 2)
) -> CandidateSetReport:
    return retrieval_in_sets(
        scores=scores, queries=STUDIES, candidates=STUDIES, sets=sets, patients=PATIENTS, resamples=200, seed=0, k=k
    )


def values(result: CandidateSetReport) -> dict[int, float | None]:
    return {k: accuracy and accuracy.value for k, accuracy in result.given.recall.items()}


def test_planted_scores_give_the_accuracy_of_a_count_by_hand() -> None:
    """Targets rank first, second, third and tied first of three; scores outside a set do not count."""
    scores = np.zeros((6, 6))
    scores[0] = [5, 1, 2, 9, 9, 9]
    scores[1] = [9, 3, 4, 2, 9, 9]
    scores[2] = [9, 9, 1, 2, 3, 9]
    scores[3] = [9, 9, 9, 7, 7, 0]
    result = report(scores)
    # The credits are 1, 0, 0 and, for the tie of two, one half.
    assert values(result) == {1: pytest.approx(1.5 / 4), 2: pytest.approx(3 / 4)}
    assert result.given.median_rank == np.median([1, 2, 3, 1.5])
    # A tie for the first place has rank 1 or 2.
    assert result.given.mrr.value == pytest.approx(np.mean([1, 1 / 2, 1 / 3, (1 + 1 / 2) / 2]))
    assert result.given.mrr.chance == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    accuracy = result.given.recall[1]
    assert accuracy is not None
    assert accuracy.chance == pytest.approx(1 / 3)
    assert (result.queries, result.patients, result.left_out, result.same_patient) == (4, 3, 0, 1)
    assert (result.given.candidates, report(scores, k=(3,)).given.recall[3]) == (3.0, None)


def test_uninformative_scores_are_at_chance() -> None:
    assert values(report(np.ones((6, 6)))) == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}


def test_sets_of_different_sizes_are_counted_each_with_its_own_chance() -> None:
    result = report(np.eye(6), {"s0": ("s2",), "s4": ("s1", "s2", "s3", "s5")})
    assert values(result) == {1: 1.0, 2: None}
    accuracy = result.given.recall[1]
    assert accuracy is not None
    assert accuracy.chance == pytest.approx((1 / 2 + 1 / 5) / 2)


def test_intervals_are_over_patients_and_over_queries() -> None:
    """All queries of a patient rank their targets first, or none does: forty queries of eight patients."""
    studies = [f"s{row}" for row in range(40)]
    patients = {study: f"p{row // 5}" for row, study in enumerate(studies)}
    scores = np.zeros((40, 40))
    for row in range(40):
        scores[row, row] = 1.0 if row // 5 % 2 else -1.0
    sets = {study: (studies[(row + 7) % 40], studies[(row + 13) % 40]) for row, study in enumerate(studies)}
    result = retrieval_in_sets(
        scores=scores, queries=studies, candidates=studies, sets=sets, patients=patients, resamples=2000, seed=0, k=(1,)
    )
    by_patient, by_query = result.given.recall[1], result.by_query.recall[1]
    assert by_patient is not None
    assert by_query is not None
    assert by_patient.value == by_query.value == 0.5
    # The width of Wilson's interval of a share of one half is 1.96 / sqrt(n + 1.96^2), of 8 patients or 40 queries.
    for accuracy, number in ((by_patient, 8), (by_query, 40)):
        assert accuracy.ci95.high - accuracy.ci95.low == pytest.approx(1.96 / (number + 1.96**2) ** 0.5, rel=1e-3)


def test_sets_with_a_study_that_cannot_be_scored_are_left_out() -> None:
    result = retrieval_in_sets(
        scores=np.eye(4)[:3], queries=STUDIES[:3], candidates=STUDIES[:4], sets=SETS, patients=PATIENTS, resamples=10,
        seed=0,
    )  # fmt: skip
    # The set of s2 includes s4, which has no column, and s3 has no row.
    assert (result.queries, result.left_out) == (2, 2)
    with pytest.raises(ValueError, match="got 4 candidate sets, each with a study that lacks a modality"):
        retrieval_in_sets(
            scores=np.eye(1), queries=["s9"], candidates=["s9"], sets=SETS, patients=PATIENTS, resamples=10, seed=0
        )


def test_scores_of_another_shape_and_wrong_k_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got scores of shape \(5, 6\) for 6 queries and 6 candidates"):
        report(np.zeros((5, 6)))
    with pytest.raises(ValueError, match="expected numbers of at least 1; set `k`"):
        report(np.zeros((6, 6)), k=(0,))
    with pytest.raises(ValueError, match="not finite"):
        report(np.full((6, 6), np.nan))


def test_table_and_json_have_both_intervals_and_counts_of_sets_left_out() -> None:
    result = report(np.eye(6), {**SETS, "s9": ("s1",)})
    console = Console(file=StringIO(), width=140)
    print_candidate_sets(result, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "4 queries of 3 patients" in text
    assert text.count("to 1.000") == 4
    assert "1.000 to 1.000" not in text
    assert "warning: 1 sets were left out" in text
    plain = as_json(result)
    assert plain["given"]["recall"]["1"]["value"] == plain["by_query"]["recall"]["1"]["value"] == 1.0
    assert (plain["left_out"], plain["same_patient"], plain["undefined_values"]) == (1, 1, 0)


ROWS = """split,query_study,candidate_study,label
test,1,1,1
test,1,2,0
test,2,2,1
test,2,007,0
val,8,8,1
val,8,9,0
"""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_of_either_kind_are_read_as_text_and_by_split(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sets.{suffix}"
    if suffix == "csv":
        path.write_text(ROWS)
        assert read_candidate_sets(path, split="test", studies=["1", "2", "007"]) == {"1": ("2",), "2": ("007",)}
    else:
        table = pd.DataFrame({"split": "test", "query_study": [20, 20], "candidate_study": [20, 21], "label": [1, 0]})
        table.to_parquet(path)
        assert read_candidate_sets(path, split="test", studies=["20", "21", "22"]) == {"20": ("21",)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test,2,2,1", "test,2,2,0", "1 queries a candidate of label 1 that is another study, or its own study as one"),
        ("test,2,2,1\n", "", "gives 1 queries not exactly one candidate of label 1 (studies ['2'])"),
        ("test,2,007,0", "test,2,007,1", "gives 1 queries a candidate of label 1 that is another study"),
        ("test,2,007,0\n", "", "gives 1 queries no candidate of label 0 (studies ['2'])"),
        ("test,1,2,0", "test,1,2,0\ntest,1,2,0", "gives 1 queries a candidate twice (studies ['1'])"),
        ("test,1,2,0", "test,1,2,2", "has labels other than 0 and 1; correct its column `label`"),
        ("test,1,2,0", "test,1,2,", "has labels other than 0 and 1"),
        ("test,1,2,0", "test,1,3,0", "names 1 studies that are not in split 'test' of the cohort (studies ['3'])"),
        ("test,1,2,0", "test,1,8,0", "names 1 studies that are not in split 'test' of the cohort (studies ['8'])"),
        ("candidate_study", "candidate", "has no column 'candidate_study', expected ['split', 'query_study',"),
        ("test,", "train,", "has no candidates of split 'test'; set `--split`, or `--candidate_sets`"),
        (ROWS, "", "sets.csv is empty; expected a header and one row per study"),
        ("test,1,2,0", "test,1,2,0,5", "has 5 cells in line 3, expected 4 as in its header; correct the row"),
        ("test,1,2,0", 'test,1,"2,0', "has a quotation mark that is not closed"),
    ],
)
def test_broken_sets_are_refused_with_the_queries(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "sets.csv"
    path.write_text(ROWS.replace(old, new))
    with pytest.raises(ValueError, match=r"sets\.csv") as error:
        read_candidate_sets(path, split="test", studies=["1", "2", "007"])
    assert message in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.parquet cannot be read as a table \(FileNotFoundError\)"):
        read_candidate_sets(tmp_path / "none.parquet", split="test", studies=[])
