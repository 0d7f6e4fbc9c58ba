from functools import partial

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from clustered_studies import planted
from polyclinic.evaluation import patient_resamples, percentile_interval, weighted_auroc
from polyclinic.evaluation.metrics.calibration import weighted_calibration_error
from polyclinic.evaluation.metrics.comparison import delong_test, delong_variance, paired_bootstrap


def delong_by_the_formula(runs: list[np.ndarray], labels: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Compute AUROCs and their covariance by loops over kernel and structural components (DeLong et al. 1988)."""

    def kernel(positive: float, negative: float) -> float:
        return 1.0 if negative < positive else 0.5 if negative == positive else 0.0

    areas, v10, v01 = [], [], []
    for scores in runs:
        x, y = scores[labels == 1], scores[labels == 0]
        areas.append(sum(kernel(i, j) for i in x for j in y) / (len(x) * len(y)))
        v10.append([sum(kernel(i, j) for j in y) / len(y) for i in x])
        v01.append([sum(kernel(i, j) for i in x) / len(x) for j in y])
    covariance = np.zeros((len(runs), len(runs)))
    for r in range(len(runs)):
        for s in range(len(runs)):
            for components in (v10, v01):
                m = len(components[r])
                products = [(a - areas[r]) * (b - areas[s]) for a, b in zip(components[r], components[s], strict=True)]
                covariance[r, s] += sum(products) / (m - 1) / m
    return areas, covariance


@pytest.mark.parametrize(("seed", "share"), [(0, 0.5), (1, 0.1), (2, 0.9)])
def test_delong_equals_the_paper_with_ties_and_unknown_labels(seed: int, share: float) -> None:
    data = planted(seed, share=share)
    rng = np.random.default_rng(seed)
    other = np.round(data.scores + rng.normal(size=len(data.scores)), 1)
    known = ~np.isnan(data.labels)
    (first, second), covariance = delong_by_the_formula([data.scores[known], other[known]], data.labels[known])
    assert delong_variance(data.scores, data.labels) == pytest.approx((first, covariance[0, 0]), abs=1e-12)
    report = delong_test(data.scores, other, data.labels)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (report.first, report.second) == pytest.approx((first, second), abs=1e-12)
    assert report.difference.value == pytest.approx(first - second, abs=1e-12)
    assert report.difference.ci95[:2] == pytest.approx(norm.interval(0.95, first - second, error), abs=1e-12)
    assert report.p_value == pytest.approx(2 * norm.cdf(-abs(first - second) / error), abs=1e-12)
    swapped = delong_test(other, data.scores, data.labels)
    assert (swapped.difference.value, swapped.p_value) == pytest.approx((second - first, report.p_value), abs=1e-12)


def test_delong_rejects_a_true_null_at_the_nominal_rate() -> None:
    rejected = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0.0, 1.0], 60)
        truth = labels + rng.normal(size=120)
        rejected += delong_test(truth + rng.normal(size=120), truth + rng.normal(size=120), labels).p_value < 0.05
    # Four standard errors of a share of 0.05 over 400 trials.
    assert abs(rejected / 400 - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400)


def test_delong_is_nan_where_it_is_undefined() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    alone = delong_test(scores, -scores, np.array([1.0, 1.0, np.nan, 1.0]))
    assert np.isnan([alone.first, alone.difference.value, alone.difference.ci95.low, alone.p_value]).all()
    nobody = delong_variance(scores, np.zeros(4))
    assert np.isnan(nobody).all()
    single = delong_variance(scores, np.array([0.0, 1.0, 0.0, 0.0]))
    assert single.auroc == pytest.approx(1 / 3)
    assert np.isnan(single.variance)
    labels = np.array([0.0, 1.0, 0.0, 1.0])
    same = delong_test(scores, scores * 3 + 1, labels)
    assert (same.difference.value, same.difference.ci95) == (0.0, (0.0, 0.0, 0))
    assert np.isnan(same.p_value)


def test_paired_bootstrap_is_over_the_same_resamples() -> None:
    data = planted(4, share=0.2, resamples=150)
    other = np.round(data.scores * 0.3 + np.random.default_rng(9).normal(size=len(data.scores)), 1)
    report = paired_bootstrap(weighted_auroc, data.scores, other, data.labels, data.weights)
    draws = [
        roc_auc_score(labels, scores) - roc_auc_score(labels, second)
        for (scores, labels), (second, _) in zip(data.resamples(), data._replace(scores=other).resamples(), strict=True)
    ]
    known = ~np.isnan(data.labels)
    expected = [roc_auc_score(data.labels[known], run[known]) for run in (data.scores, other)]
    assert (report.first, report.second) == pytest.approx(tuple(expected), abs=1e-12)
    assert report.difference.value == pytest.approx(expected[0] - expected[1], abs=1e-12)
    assert report.difference.ci95 == pytest.approx(percentile_interval(np.array(draws)), abs=1e-12)
    below, above = sum(d <= 0 for d in draws), sum(d >= 0 for d in draws)
    assert report.p_value == pytest.approx(2 * min(1 + below, 1 + above) / 151)


def test_no_difference_has_p_of_one_and_undefined_resamples_are_counted() -> None:
    scores, labels = np.arange(10.0), np.repeat([0.0, 1.0], 5)
    weights = patient_resamples([str(row) for row in range(10)], 70, 0)
    weights[:2, :5] = 0
    report = paired_bootstrap(weighted_auroc, scores, scores * 2, labels, weights)
    assert report.p_value == 1.0
    assert report.difference == (0.0, (0.0, 0.0, 2))
    nothing = paired_bootstrap(weighted_auroc, scores, scores, np.zeros(10), weights)
    assert np.isnan(nothing.p_value)
    assert nothing.difference.ci95.undefined == 70


def test_runs_are_not_compared_on_few_patients() -> None:
    labels = (np.arange(200) < 1).astype(float)
    weights = patient_resamples([str(row) for row in range(200)], 100, 0)
    report = paired_bootstrap(weighted_auroc, labels, np.arange(200.0), labels, weights)
    assert (report.first, report.second) == (1.0, 0.0)
    assert np.isnan([report.p_value, *report.difference.ci95[:2]]).all()


def test_any_weighted_metric_can_be_compared() -> None:
    data = planted(6)
    chances, constant = 1 / (1 + np.exp(-data.scores)), np.full(len(data.scores), 0.5)
    metric = partial(weighted_calibration_error, bins=4)
    report = paired_bootstrap(metric, chances, constant, data.labels, data.weights)
    complete = np.ones((1, len(chances)), dtype=int)
    assert (
        report.second == metric(constant, data.labels, complete)[0] == pytest.approx(abs(np.nanmean(data.labels) - 0.5))
    )


def test_copies_of_studies_deceive_delong_and_not_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0.0, 1.0], 40)
    first, second = labels + rng.normal(size=80), 0.6 * labels + rng.normal(size=80)
    ids = [str(row) for row in range(80)]
    original = paired_bootstrap(weighted_auroc, first, second, labels, patient_resamples(ids, 400, 0))
    copied = [np.tile(values, 5) for values in (first, second, labels)]
    clustered = paired_bootstrap(weighted_auroc, *copied, patient_resamples(ids * 5, 400, 0))
    assert clustered.difference.ci95 == pytest.approx(original.difference.ci95)
    assert clustered.p_value == original.p_value
    assert delong_test(*copied).p_value < 0.2 * delong_test(first, second, labels).p_value
