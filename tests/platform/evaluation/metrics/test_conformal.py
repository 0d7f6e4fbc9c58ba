import json
from math import ceil

import numpy as np
import pytest
from scipy.stats import binom

from clustered_studies import planted, wilson
from polyclinic.evaluation import as_json
from polyclinic.evaluation.metrics.conformal import conformal_report, conformal_sets


def rank_that_covers(count: int, alpha: float) -> int:
    return ceil(round((count + 1) * (1 - alpha), 9))


@pytest.mark.parametrize(("positives", "negatives", "alpha"), [(19, 40, 0.1), (60, 25, 0.2), (9, 9, 0.1)])
def test_coverage_of_each_class_is_that_of_the_theory(positives: int, negatives: int, alpha: float) -> None:
    """A new study of each class per validation split is covered with probability k / (n + 1)."""
    trials, covered = 3000, np.zeros(2)
    rng = np.random.default_rng(0)
    labels = np.repeat([0.0, 1.0], [negatives, positives])
    for _ in range(trials):
        sets = conformal_sets(rng.normal(labels, 1.0), labels, alpha).sets(rng.normal([0.0, 1.0], 1.0))
        covered += sets[[0, 1], [0, 1]]
    for hits, count in zip(covered, (negatives, positives), strict=True):
        probability = rank_that_covers(count, alpha) / (count + 1)
        assert 1 - alpha <= probability <= 1 - alpha + 1 / (count + 1)
        # A correct implementation leaves this range of the binomial distribution for one in 10,000 seeds.
        low, high = binom.interval(0.9999, trials, probability)
        assert low <= hits <= high


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.29, 0.41, 0.5])
def test_limits_are_the_finite_sample_quantiles(alpha: float) -> None:
    rng = np.random.default_rng(1)
    for count in (20, 49, 99, 100):
        scores, labels = rng.normal(size=2 * count), np.repeat([0.0, 1.0], count)
        sets = conformal_sets(scores, labels, alpha)
        rank = rank_that_covers(count, alpha)
        assert sets.absent_up_to == sorted(scores[:count])[rank - 1]
        assert sets.present_from == sorted(scores[count:], reverse=True)[rank - 1]


def test_monotone_transform_and_unknown_labels_change_no_set() -> None:
    data = planted(2)
    scores, labels = data.known()
    sets = conformal_sets(data.scores, data.labels, 0.1).sets(data.scores)
    chance = 1 / (1 + np.exp(-scores))
    np.testing.assert_array_equal(conformal_sets(chance, labels, 0.1).sets(1 / (1 + np.exp(-data.scores))), sets)


def test_too_few_studies_put_their_class_in_every_set_with_a_reason() -> None:
    data = planted(3)
    # At alpha 0.1, nine positive studies suffice and eight do not.
    for count, suffices in ((9, True), (8, False), (0, False)):
        labels = np.repeat([0.0, 1.0], [50, count])
        calibrated = conformal_sets(np.random.default_rng(0).normal(labels), labels, 0.1)
        assert calibrated.sets(data.scores)[:, 1].all() == (not suffices)
        report = conformal_report(
            calibrated=calibrated, scores=data.scores, labels=data.labels, weights=data.weights
        )  # fmt: skip
        expected = (
            f"'present' is in every set: alpha 0.1 needs 9 validation studies of that class, and there are {count}"
        )
        assert report.limits == (() if suffices else (expected,))
        plain = json.loads(json.dumps(as_json(report), allow_nan=False))
        assert (plain["calibrated"]["present_from"] is None) == (not suffices)
        assert plain["undefined_values"] == 0


def test_report_counts_sets_answers_and_coverage() -> None:
    val, test = planted(4, patients=120), planted(5, patients=120, resamples=100)
    calibrated = conformal_sets(val.scores, val.labels, 0.15)
    report = conformal_report(calibrated=calibrated, scores=test.scores, labels=test.labels, weights=test.weights)

    def by_loops(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        absent, present = scores <= calibrated.absent_up_to, scores >= calibrated.present_from
        single = [without != with_finding for without, with_finding in zip(absent, present, strict=True)]
        right = [bool(predicted) == (label == 1) for predicted, label in zip(present, labels, strict=True)]
        return {
            "coverage_absent": float(absent[labels == 0].mean()),
            "coverage_present": float(present[labels == 1].mean()),
            "abstained": 1 - sum(single) / len(labels),
            "both": float((absent & present).mean()),
            "neither": float((~absent & ~present).mean()),
            "accuracy": sum(r for r, s in zip(right, single, strict=True) if s) / sum(single),
        }

    for name, value in by_loops(*test.known()).items():
        assert getattr(report, name).value == pytest.approx(value, abs=1e-12)
    healthy = test.labels == 0
    ids = [patient for patient, selected in zip(test.patient_ids, healthy, strict=True) if selected]
    expected = wilson(test.scores[healthy] <= calibrated.absent_up_to, ids)
    assert report.coverage_absent.ci95[:2] == pytest.approx(expected, abs=1e-9)
    assert report.both.value > 0
    assert report.n == len(test.known()[0])
    assert report.answered == round(report.n * (1 - report.abstained.value))


def test_empty_sets_abstain_and_no_answer_has_no_accuracy() -> None:
    """Two distant classes leave a gap of scores for which neither class is in the set."""
    labels = np.repeat([0.0, 1.0], 20)
    calibrated = conformal_sets(np.r_[np.arange(20.0), np.arange(100.0, 120.0)], labels, 0.1)
    np.testing.assert_array_equal(calibrated.sets(np.array([0.0, 50.0, 110.0])), [[1, 0], [0, 0], [0, 1]])
    report = conformal_report(
        calibrated=calibrated, scores=np.array([50.0, 60.0]), labels=np.array([0.0, np.nan]),
        weights=np.ones((3, 2), dtype=int),
    )  # fmt: skip
    assert (report.abstained.value, report.neither.value, report.both.value) == (1.0, 1.0, 0.0)
    assert (report.coverage_absent.value, report.n, report.answered) == (0.0, 1, 0)
    assert np.isnan([report.accuracy.value, report.coverage_present.value]).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0, 10.0])
def test_refuses_an_alpha_that_is_not_a_share(alpha: float) -> None:
    with pytest.raises(ValueError, match="set `alpha`"):
        conformal_sets(np.array([0.0, 1.0]), np.array([0.0, 1.0]), alpha)
