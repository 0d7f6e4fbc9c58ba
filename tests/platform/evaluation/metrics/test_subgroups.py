import json
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from clustered_studies import Planted, planted
from polyclinic.evaluation import as_json, percentile_interval
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.metrics.subgroups import Gap, SubgroupReport, subgroup_report

METRICS = ("auroc", "average_precision", "sensitivity", "specificity", "calibration_error", "brier")


def calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    chance = expit(scores)
    shares, means = calibration_curve(labels, chance, n_bins=10)
    counts = np.bincount(np.digitize(chance, np.linspace(0, 1, 11)[1:-1], right=True))
    return float(np.sum(counts[counts > 0] / len(chance) * np.abs(shares - means)))


def expected_metrics(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    flagged = scores >= threshold
    return {
        "auroc": roc_auc_score(labels, scores),
        "average_precision": average_precision_score(labels, scores),
        "sensitivity": flagged[labels == 1].mean(),
        "specificity": 1 - flagged[labels == 0].mean(),
        "calibration_error": calibration_error(scores, labels),
        "brier": brier_score_loss(labels, expit(scores)),
    }


def report_of(data: Planted, groups: dict[str, list[str | None]], **changes: Any) -> SubgroupReport:
    given: dict[str, Any] = {"threshold": 0.35, "minimum": 5, "weights": data.weights}
    return subgroup_report(log_odds=data.scores, labels=data.labels, groups=groups, **{**given, **changes})


def only(data: Planted, rows: np.ndarray) -> Planted:
    ids = [patient for patient, selected in zip(data.patient_ids, rows, strict=True) if selected]
    return Planted(data.scores[rows], data.labels[rows], ids, data.weights[:, rows])


def test_every_metric_of_every_group_equals_sklearn_with_its_intervals() -> None:
    data = planted(0, patients=90, resamples=25)
    names = np.random.default_rng(1).choice(["A", "B", "C"], len(data.scores))
    report = report_of(data, {"site": list(names)})
    column = report.columns["site"]
    assert [group.name for group in column.groups] == ["A", "B", "C"]
    drawn = {}
    for group in (report.overall, *column.groups):
        part = data if group.name == "all" else only(data, names == group.name)
        scores, labels = part.known()
        assert (group.n, group.n_positive) == (len(labels), labels.sum())
        expected = expected_metrics(scores, labels, 0.35)
        drawn[group.name] = [expected, *(expected_metrics(*resample, 0.35) for resample in part.resamples())]
        assert tuple(group.metrics) == METRICS
        for metric, estimate in group.metrics.items():
            assert isinstance(estimate, Estimate)
            assert estimate.value == pytest.approx(expected[metric], abs=1e-12)
            interval = percentile_interval(np.array([metrics[metric] for metrics in drawn[group.name][1:]]))
            if metric in ("brier", "calibration_error"):
                assert estimate.ci95 == pytest.approx(interval, abs=1e-12)
            else:
                assert estimate.ci95.low < estimate.value < estimate.ci95.high
    for metric, gap in column.gaps.items():
        assert isinstance(gap, Gap)
        points = {name: drawn[name][0][metric] for name in "ABC"}
        assert points[gap.highest] == max(points.values())
        assert points[gap.lowest] == min(points.values())
        assert gap.difference.value == pytest.approx(points[gap.highest] - points[gap.lowest], abs=1e-12)
        assert gap.difference.ci95.low < gap.difference.value < gap.difference.ci95.high


def test_small_one_sided_and_empty_groups_are_reported_with_the_reason() -> None:
    data = planted(2)
    size = len(data.scores)
    names: list[str | None] = ["big"] * size
    labels = data.labels.copy()
    names[:4], labels[:4] = ["small"] * 4, [0.0, 1.0, 0.0, 1.0]
    names[4:12], labels[4:12] = ["healthy"] * 8, 0.0
    names[12:20], labels[12:20] = ["ill"] * 8, 1.0
    names[20:28], labels[20:28] = [None, ""] * 4, np.nan
    column = report_of(data._replace(labels=labels), {"site": names}).columns["site"]
    groups = {group.name: group for group in column.groups}
    assert set(groups) == {"big", "small", "healthy", "ill", "not stated"}
    assert set(groups["small"].metrics.values()) == {"4 studies of known label, fewer than the minimum of 5"}
    assert set(groups["not stated"].metrics.values()) == {"0 studies of known label, fewer than the minimum of 5"}
    assert (groups["small"].n, groups["not stated"].n) == (4, 0)
    for name, missing, needed in (("healthy", "no positive study among 8", "sensitivity"),
                                  ("ill", "no negative study among 8", "specificity")):  # fmt: skip
        lacking = {metric for metric, value in groups[name].metrics.items() if value == missing}
        assert lacking == {"auroc", "average_precision", needed}
        assert all(
            isinstance(value, Estimate) for metric, value in groups[name].metrics.items() if metric not in lacking
        )


def test_gap_is_between_the_groups_that_have_a_value() -> None:
    data = planted(3)
    half = len(data.scores) // 2
    labels = data.labels.copy()
    labels[:half] = 0.0
    names: list[str | None] = ["healthy"] * half + ["mixed"] * (len(labels) - half)
    gaps = report_of(data._replace(labels=labels), {"site": names}).columns["site"].gaps
    assert gaps["auroc"] == "1 of 2 groups have a value; a gap needs two"
    assert isinstance(gaps["specificity"], Gap)
    alone = report_of(data, {"site": ["one"] * len(labels)}).columns["site"].gaps
    assert alone["brier"] == "1 of 1 groups have a value; a gap needs two"


def test_without_a_threshold_the_rates_give_the_reason() -> None:
    data = planted(4)
    report = report_of(data, {}, threshold=float("nan"))
    assert report.overall.metrics["sensitivity"] == report.overall.metrics["specificity"] == "no threshold was set"
    assert isinstance(report.overall.metrics["auroc"], Estimate)
    assert report.columns == {}


def test_resamples_without_a_class_of_the_group_are_counted() -> None:
    scores, labels = np.arange(6.0), np.array([0.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    data = Planted(
        scores, labels, list("abcdef"), np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 1, 1, 1], [0, 0, 0, 2, 2, 2]])
    )
    report = report_of(data, {"site": ["A", "A", "A", "B", "B", "B"]}, minimum=1)
    first = report.columns["site"].groups[0].metrics
    undefined = {name: value.ci95.undefined for name, value in first.items() if isinstance(value, Estimate)}
    assert undefined == {
        "auroc": 0, "average_precision": 2, "sensitivity": 0, "specificity": 0, "calibration_error": 1, "brier": 1
    }  # fmt: skip
    gap = report.columns["site"].gaps["auroc"]
    assert isinstance(gap, Gap)
    assert gap.difference.ci95.low < gap.difference.value < gap.difference.ci95.high


def test_json_holds_estimates_and_sentences() -> None:
    data = planted(5)
    names: list[str | None] = [None, *["F", "M"] * (len(data.scores) // 2), *["F"] * ((len(data.scores) + 1) % 2)]
    plain = json.loads(json.dumps(as_json(report_of(data, {"sex": names[: len(data.scores)]})), allow_nan=False))
    women, _, unknown = plain["columns"]["sex"]["groups"]
    assert set(women["metrics"]["auroc"]) == {"value", "ci95"}
    assert "fewer than the minimum of 5" in unknown["metrics"]["auroc"]
    assert set(plain["columns"]["sex"]["gaps"]["auroc"]) == {"highest", "lowest", "difference"}


def test_a_column_of_another_length_is_named() -> None:
    data = planted(6)
    with pytest.raises(ValueError, match="got 2 values of group column 'sex', expected one for each"):
        report_of(data, {"sex": ["F", "M"]})
