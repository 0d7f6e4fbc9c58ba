"""Score intervals against closed formulas and grids, and the rate of false positives with few patients."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from clustered_studies import planted, wilson
from polyclinic.evaluation import patient_resamples
from polyclinic.evaluation.metrics.intervals import Estimate, Interval
from polyclinic.evaluation.metrics.score_intervals import (
    difference_interval,
    estimate_auroc,
    estimate_average_precision,
    estimate_share,
    fewest_patients,
    hull,
    mean_of_estimates,
    patient_codes,
)
from polyclinic.export.calibrate import _of_finding

Z2 = 1.959963984540054**2


def newcombe(auroc: float, m: float, n: float) -> tuple[float, float]:
    """Compute Newcombe's interval (method 5) on a fine grid."""
    grid = np.linspace(0, 1, 1_000_001)[1:-1]
    spread = ((m + n) / 2 - 1) * ((1 - grid) / (2 - grid) + grid / (1 + grid))
    inside = grid[(auroc - grid) ** 2 <= Z2 * grid * (1 - grid) * (1 + spread) / (m * n)]
    return inside[0], inside[-1]


@pytest.mark.parametrize("positives", [1, 2, 7, 30])
def test_auroc_interval_equals_newcombes_by_grid(positives: int) -> None:
    rng = np.random.default_rng(positives)
    labels = (np.arange(40) < positives).astype(float)
    scores = rng.normal(labels, 1.0).round(1)
    report = estimate_auroc(np.append(scores, 9.0), np.append(labels, np.nan), np.arange(41))
    assert report.ci95[:2] == pytest.approx(newcombe(report.value, positives, 40 - positives), abs=2e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("positives", [1, 3, 20])
def test_perfect_ranks_leave_an_interval_open(value: float, positives: int) -> None:
    labels = (np.arange(60) < positives).astype(float)
    report = estimate_auroc(labels if value else -labels, labels, np.arange(60))
    assert report.value == value
    low, high = newcombe(value, positives, 60 - positives)
    assert (report.ci95.low, report.ci95.high) == pytest.approx(
        (low if value else 0.0, 1.0 if value else high), abs=2e-6
    )
    assert report.ci95.high - report.ci95.low > 0.01


def test_copies_of_a_patients_study_add_nothing() -> None:
    data = planted(3, patients=40, unknown=0)
    once = estimate_auroc(data.scores, data.labels, np.arange(len(data.scores)))
    for copies in (2, 5):
        repeated = [np.repeat(values, copies) for values in (data.scores, data.labels, np.arange(len(data.scores)))]
        report = estimate_auroc(*repeated)
        assert report.value == pytest.approx(once.value)
        assert report.ci95[:2] == pytest.approx(once.ci95[:2], abs=0.01)
    separated = np.repeat([0.0, 1.0], 6), np.repeat([0.0, 1.0], 6)
    clustered = estimate_auroc(*separated, np.arange(12) // 3).ci95.low
    assert clustered < estimate_auroc(*separated, np.arange(12)).ci95.low - 0.1


def test_the_test_at_one_half_is_mann_whitneys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        labels = (np.arange(30) < rng.integers(3, 25)).astype(float)
        scores = rng.normal(labels * rng.choice([0.0, 0.8]), 1)
        p = mannwhitneyu(scores[labels == 1], scores[labels == 0], method="asymptotic", use_continuity=False).pvalue
        low, high, _ = estimate_auroc(scores, labels, np.arange(30)).ci95
        assert (low > 0.5 or high < 0.5) == (p < 0.05)


@pytest.mark.public_report(2)
@pytest.mark.parametrize(("studies", "positives"), [(18, 1), (18, 2), (200, 1), (200, 2), (200, 5)])
def test_noise_rarely_gets_a_decision_rule(studies: int, positives: int) -> None:
    rng, weights = np.random.default_rng(1), patient_resamples([str(i) for i in range(studies)], 64, 0)
    labels = (np.arange(studies) < positives).astype(float)
    rules = [_of_finding(rng.normal(size=studies), labels, weights, 0.1)[0] for _ in range(150)]
    # With a true rate of 0.025, 150 draws have eleven or more false positives with a probability of about 0.001.
    assert sum(rule.problem is None for rule in rules) <= 10
    assert all(rule.auroc is not None and rule.auroc[2] - rule.auroc[1] > 0.1 for rule in rules)


def test_shares_equal_wilsons_closed_form() -> None:
    rng = np.random.default_rng(2)
    for ids in ([str(i) for i in range(30)], [str(i // 3) for i in range(30)], ["only"] * 30):
        patients = np.unique(ids, return_inverse=True)[1]
        for hits in (rng.random(30) < 0.8, np.ones(30, dtype=bool), np.zeros(30, dtype=bool), rng.random(30)):
            report = estimate_share(hits, np.ones(30, dtype=bool), patients)
            assert report.ci95[:2] == pytest.approx(wilson(hits, ids), abs=1e-9)
            assert report.ci95.high - report.ci95.low > 0.1
    none = estimate_share(np.ones(3), np.zeros(3, dtype=bool), np.arange(3))
    assert np.isnan([none.value, none.ci95.low, none.ci95.high]).all()


def test_average_precision_of_one_positive_is_not_certain() -> None:
    labels = (np.arange(50) == 0).astype(float)
    weights = patient_resamples([str(i) for i in range(50)], 200, 0)
    report = estimate_average_precision(labels, labels, weights)
    assert report.value == 1.0
    assert report.ci95.low == pytest.approx(1 / (1 + Z2))
    data = planted(1, patients=400, resamples=200)
    narrow = estimate_average_precision(data.scores, data.labels, data.weights).ci95
    assert narrow.high - narrow.low < 0.12


def test_patients_are_recovered_from_their_resamples() -> None:
    ids = [f"p{i}" for i in np.random.default_rng(0).integers(0, 300, 1000)]
    codes = patient_codes(patient_resamples(ids, 100, 0))
    assert len({*zip(ids, codes.tolist(), strict=True)}) == len(set(ids)) == len(set(codes.tolist()))
    labels = np.array([0.0, 0.0, 1.0, 1.0, np.nan])
    assert fewest_patients(labels, patient_resamples(["a", "b", "c", "c", "d"], 64, 0)) == 1


def test_intervals_of_differences_and_means() -> None:
    first, second = Estimate(0.9, Interval(0.7, 0.96, 0)), Estimate(0.6, Interval(0.5, 0.8, 0))
    low, high, _ = difference_interval(first, second)
    assert (low, high) == pytest.approx((0.3 - np.hypot(0.2, 0.2), 0.3 + np.hypot(0.06, 0.1)))
    mean = mean_of_estimates([first, second])
    assert mean.ci95[:2] == pytest.approx((0.75 - np.hypot(0.2, 0.1) / 2, 0.75 + np.hypot(0.06, 0.2) / 2))
    assert np.isnan(mean_of_estimates([]).value)
    assert hull(Interval(0.2, 0.4, 3), Interval(float("nan"), float("nan"), 0)) == (0.2, 0.4, 3)
