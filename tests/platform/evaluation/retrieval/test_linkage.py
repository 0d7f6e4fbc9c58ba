"""Linkage: posteriors by loops, the assignment against all permutations, and rates against counts by hand."""

import json
import math
from io import StringIO
from itertools import permutations

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import precision_recall_curve

from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.retrieval.linkage import (
    Files,
    LinkageReport,
    Matching,
    PrecisionRecall,
    choose_threshold,
    common,
    linkage_report,
    linkage_scores,
    one_to_one,
    precision_recall,
    same_patient,
)
from polyclinic.evaluation.tables import as_json, print_linkage


def test_a_score_is_the_geometric_mean_of_two_softmaxes() -> None:
    rng = np.random.default_rng(0)
    forward, backward = rng.normal(size=(4, 3)) * 5, rng.normal(size=(3, 4)) * 5
    scores = linkage_scores(torch.tensor(forward), torch.tensor(backward))
    for i in range(4):
        for j in range(3):
            given_i = math.exp(forward[i, j]) / sum(math.exp(value) for value in forward[i])
            given_j = math.exp(backward[j, i]) / sum(math.exp(value) for value in backward[j])
            assert scores[i, j] == pytest.approx(math.sqrt(given_i * given_j), abs=1e-12)


def test_a_constant_per_query_does_not_change_the_scores() -> None:
    rng = np.random.default_rng(1)
    forward, backward = rng.normal(size=(6, 4)), rng.normal(size=(4, 6))
    shifted = linkage_scores(forward + rng.normal(size=(6, 1)) * 9, backward + rng.normal(size=(4, 1)) * 9)
    np.testing.assert_allclose(shifted, linkage_scores(forward, backward), atol=1e-12)
    np.testing.assert_allclose(linkage_scores(np.full((2, 5), 1e4), np.full((5, 2), -1e4)), 1 / math.sqrt(10))
    with pytest.raises(ValueError, match="1 scores that are not finite"):
        linkage_scores(np.array([[np.nan, 0.0]]), np.zeros((2, 1)))


@pytest.mark.parametrize("shape", [(5, 5), (6, 3), (3, 6), (1, 4)])
def test_the_assignment_is_the_best_of_all(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(2).random(shape)
    wide = scores if shape[0] <= shape[1] else scores.T
    best = max(sum(wide[row, column] for row, column in enumerate(order))
               for order in permutations(range(wide.shape[1]), len(wide)))  # fmt: skip
    rows, columns, values = one_to_one(scores)
    assert values.sum() == pytest.approx(best, abs=1e-12)
    np.testing.assert_array_equal(values, scores[rows, columns])
    assert len(set(rows)) == len(set(columns)) == min(shape)


def test_the_curve_is_that_of_scikit_learn_with_recall_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    scores, right = rng.integers(0, 12, 60) / 12, rng.random(60) < 0.4
    curve = precision_recall(scores, right, pairs=80)
    precision, recall, thresholds = precision_recall_curve(right, scores)
    np.testing.assert_array_equal(curve.thresholds, thresholds[::-1])
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1] * right.sum() / 80, atol=1e-12)
    assert np.isnan(precision_recall(scores, right, pairs=0).recall).all()


def test_the_threshold_is_the_best_of_a_loop() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random(50)
    right = rng.random(50) < scores
    curve = precision_recall(scores, right, pairs=50)

    def f1(threshold: float) -> float:
        asserted = scores >= threshold
        return float(2 * (asserted & right).sum() / (asserted.sum() + 50))

    assert choose_threshold(curve) == max(sorted(scores, reverse=True), key=f1)
    sufficient = [value for value in scores if right[scores >= value].mean() >= 0.8]
    assert choose_threshold(curve, precision=0.8) == min(sufficient)
    none_right = precision_recall(scores, np.zeros(50, dtype=bool), pairs=50)
    assert choose_threshold(none_right) == scores.max()
    with pytest.raises(ValueError, match=r"got precision 0.9, the validation split reaches at most 0.500; set"):
        choose_threshold(PrecisionRecall(thresholds=(2.0, 1.0), precision=(0.0, 0.5), recall=(0.0, 0.5)), 0.9)


FIRST = Files(["s1", "s2", "s3", "s4", "s5"], ["a", "a", "b", "c", "d"])
SECOND = Files(["s2", "s3", "s4", "s1"], ["a", "b", "c", "a"])
# Pairs: s1 and s2 of one patient, s3 and s3, s4 and s1 of different patients, and s5 and s4 below the threshold.
MATCHING = Matching(np.array([0, 2, 3, 4]), np.array([0, 1, 3, 2]), np.array([0.9, 0.8, 0.7, 0.1]))


def small_report(resamples: int = 500, threshold: float = 0.5) -> LinkageReport:
    return linkage_report(
        matching=MATCHING, first=FIRST, second=SECOND, threshold=threshold, resamples=resamples, seed=0
    )


def test_rates_by_hand() -> None:
    report = small_report()
    patient, study = report.by_patient, report.by_study
    assert (report.first_files, report.second_files, report.asserted, report.patients) == (5, 4, 3, 4)
    assert (patient.right, patient.pairs, study.right, study.pairs) == (2, 4, 1, 4)
    assert (patient.precision, patient.recall, patient.f1) == pytest.approx((2 / 3, 2 / 4, 4 / 7), abs=1e-12)
    assert (study.precision, study.recall, study.f1) == pytest.approx((1 / 3, 1 / 4, 2 / 7), abs=1e-12)
    np.testing.assert_array_equal(same_patient(MATCHING, FIRST, SECOND), [True, True, False, False])
    assert common(["a", "a", "b"], ["a", "a", "a", "c"]) == 2
    assert report.curve.precision == pytest.approx((1, 1, 2 / 3, 1 / 2))


def test_chance_is_the_mean_precision_over_all_matchings() -> None:
    report = small_report()
    for ids, quality in (((FIRST.patient_ids, SECOND.patient_ids), report.by_patient),
                         ((FIRST.study_ids, SECOND.study_ids), report.by_study)):  # fmt: skip
        shares = [
            np.mean([ids[0][row] == ids[1][column] for column, row in enumerate(order)])
            for order in permutations(range(5), 4)
        ]
        assert quality.chance == pytest.approx(np.mean(shares), abs=1e-12)


def test_intervals_are_over_patients_of_the_first_files() -> None:
    report = small_report()
    # Asserted pairs, correct pairs and true pairs, by patient of the first file.
    counts = {"a": (1, 1, 2), "b": (1, 1, 1), "c": (1, 0, 1), "d": (0, 0, 0)}
    precision, recall, f1 = [], [], []
    for weights in patient_resamples(FIRST.patient_ids, 500, 0):
        drawn = dict(zip(FIRST.patient_ids, weights, strict=True))
        asserted, right, pairs = (sum(drawn[p] * counts[p][place] for p in counts) for place in range(3))
        precision.append(right / asserted if asserted else np.nan)
        recall.append(right / pairs if pairs else np.nan)
        f1.append(2 * right / (asserted + pairs) if asserted + pairs else np.nan)
    for draws, interval in ((precision, report.by_patient.precision_ci95), (recall, report.by_patient.recall_ci95),
                        (f1, report.by_patient.f1_ci95)):  # fmt: skip
        assert (interval.low, interval.high) == pytest.approx(np.nanquantile(draws, [0.025, 0.975]), abs=1e-12)
        assert interval.undefined == np.isnan(draws).sum()


def test_nothing_asserted_has_no_precision() -> None:
    report = small_report(threshold=2.0)
    assert np.isnan(report.by_patient.precision)
    assert (report.asserted, report.by_patient.recall, report.by_patient.f1) == (0, 0.0, 0.0)
    plain = as_json(report)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["by_patient"]["precision"] is None
    assert plain["by_patient"]["precision_ci95"] == {"low": None, "high": None, "undefined": 500}


def test_one_patient_alone() -> None:
    files = Files(["s"], ["p"])
    report = linkage_report(
        matching=one_to_one(linkage_scores(np.array([[3.0]]), np.array([[-2.0]]))),
        first=files, second=files, threshold=1.0, resamples=5, seed=0,
    )  # fmt: skip
    assert (report.by_study.precision, report.by_study.recall, report.by_study.chance) == (1.0, 1.0, 1.0)


def test_the_table_shows_correct_pairs_by_patient_and_by_study() -> None:
    console = Console(file=StringIO(), width=80)
    print_linkage(small_report(), "one", "other", console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = {line.split("│")[1].strip(): line.split("│") for line in text.splitlines() if line.startswith("│")}
    cells = {name: [cell.strip() for cell in row[2:-1]] for name, row in rows.items()}
    assert [cells[name][::2] for name in ("precision", "recall", "f1")] == [
        ["0.667", "0.333"], ["0.500", "0.250"], ["0.571", "0.286"],
    ]  # fmt: skip
    assert cells["right"] == ["2 of 4", "", "1 of 4", ""]
    assert cells["precision by chance"][::2] == ["0.3000", "0.2000"]
    assert "3 pairs asserted, with scores of at least 0.5" in text
