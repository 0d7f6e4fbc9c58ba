import json

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import brier_score_loss

from clustered_studies import planted
from polyclinic.evaluation import as_json
from polyclinic.evaluation.card.findings import calibrated
from polyclinic.evaluation.metrics.recalibration import (
    CalibrationQuality,
    calibration_report,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from polyclinic.export.calibrate import _of_finding

FITS = (fit_temperature, fit_platt, fit_isotonic)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_temperature_is_where_the_derivative_of_the_loss_is_zero(size: float) -> None:
    data = planted(0)
    scores, labels = data.known()
    # The slope at which the derivative of the log loss is 0, for unscaled scores.
    slope = brentq(lambda a: np.sum((expit(a * scores) - labels) * scores), -20, 20, xtol=1e-14)
    fitted = fit_temperature(data.scores * size, data.labels)
    assert fitted.slope * size == pytest.approx(slope, abs=1e-8)
    assert (fitted.intercept, fitted.reason) == (0.0, None)


def _smoothed(labels: np.ndarray) -> np.ndarray:
    """Return Platt's smoothed labels, study by study."""
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    return np.array([(positives + 1) / (positives + 2) if label else 1 / (negatives + 2) for label in labels])


@pytest.mark.parametrize(("share", "shift"), [(0.5, 0.0), (0.1, 3.0), (0.9, -40.0)])
def test_platt_minimises_the_smoothed_log_loss(share: float, shift: float) -> None:
    data = planted(1, share=share, patients=200)
    scores, labels = data.known()
    target = _smoothed(labels)

    def loss(line: np.ndarray) -> float:
        probability = expit(line[0] * scores + line[1])
        return float(-np.sum(target * np.log(probability) + (1 - target) * np.log1p(-probability)))

    minimum = minimize(
        loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
    )
    assert minimum.success
    fitted = fit_platt(data.scores + shift, data.labels)
    line = np.array([fitted.slope, fitted.intercept + fitted.slope * shift])
    # The loss is flat to its last digit within about 1e-7 of the minimum.
    np.testing.assert_allclose(line, minimum.x, atol=1e-6)
    assert loss(line) <= minimum.fun + 1e-11
    np.testing.assert_allclose(fitted.apply(scores + shift), expit(minimum.x[0] * scores + minimum.x[1]), atol=1e-6)


def test_card_and_bundle_calibrate_alike() -> None:
    """Card and bundle give bitwise equal probabilities for the same validation scores."""
    data, test = planted(8, share=0.3), planted(9, share=0.3)
    report = calibration_report(
        log_odds=test.scores, labels=test.labels, validation_log_odds=data.scores, validation_labels=data.labels,
        weights=test.weights,
    )  # fmt: skip
    rule, _ = _of_finding(data.scores, data.labels, data.weights, 0.1)
    assert (rule.slope, rule.intercept) == (report.platt.slope, report.platt.intercept)
    assert rule.slope is not None
    assert rule.intercept is not None
    on_card, in_bundle = expit(calibrated(test.scores, report.platt)), expit(rule.slope * test.scores + rule.intercept)
    np.testing.assert_array_equal(on_card, in_bundle)
    np.testing.assert_array_equal(report.platt.apply(test.scores), in_bundle)


def test_known_distortion_is_undone() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=200_000) * 2 - 1
    labels = (rng.random(len(true)) < expit(true)).astype(float)
    fitted = fit_platt((true + 2) * 3, labels)
    # Standard errors of slope and intercept are about 0.003 and 0.01.
    assert fitted.slope == pytest.approx(1 / 3, abs=0.01)
    assert fitted.intercept == pytest.approx(-2, abs=0.05)
    assert fit_temperature(true * 4, labels).slope == pytest.approx(1 / 4, abs=0.01)


def test_heavy_tails_and_offsets_reach_the_minimum() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = rng.standard_t(1.5, 200) * 10 ** rng.uniform(-3, 3) + rng.normal() * 100
        labels = (rng.random(200) < rng.uniform(0.05, 0.95)).astype(float)
        fitted = fit_platt(scores, labels)
        spread = (scores - np.median(scores)) / np.abs(scores - np.median(scores)).mean()
        errors = fitted.apply(scores) - _smoothed(labels)
        # At the minimum the mean error is 0 and the errors are uncorrelated with the scores.
        assert (abs(errors.mean()), abs((errors * spread).mean())) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_scores_in_reverse_have_negative_slopes() -> None:
    data = planted(3)
    scores, labels = data.known()
    for fit in (fit_temperature, fit_platt):
        assert fit(-scores, labels).slope == pytest.approx(-fit(scores, labels).slope, abs=1e-8)


def test_isotonic_pools_ties_and_neighbours_and_is_level_beyond() -> None:
    data = planted(4)
    scores, labels = data.known()
    values, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(place, labels) / count
    expected = isotonic_regression(means, sample_weight=count)
    fitted = fit_isotonic(data.scores, data.labels)
    np.testing.assert_allclose(fitted.apply(values), expected, atol=1e-12)
    np.testing.assert_allclose(fitted.apply(np.array([-99.0, 99.0])), expected[[0, -1]], atol=1e-12)


def test_one_class_has_no_fit_and_a_reason() -> None:
    scores = np.array([1.0, 2.0, 3.0])
    for fit in FITS:
        fitted = fit(scores, np.array([1.0, np.nan, 1.0]))
        assert fitted.reason == "the validation split has 2 positive and 0 negative studies"
        assert np.isnan(fitted.apply(scores)).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_separated_classes_have_a_platt_slope_but_no_temperature(sign: float) -> None:
    scores, labels = sign * np.array([-2.0, -1.0, -1.0, 4.0]), np.array([0.0, 0.0, 1.0, 1.0])
    assert fit_temperature(scores, labels).reason is None
    assert "no slope is steep enough" in (fit_temperature(scores + sign, labels).reason or "")
    fitted = fit_platt(scores + sign, labels)
    assert fitted.reason is None
    assert 0 < sign * fitted.slope < np.inf


def test_one_score_has_no_platt_fit() -> None:
    fitted = fit_platt(np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    assert fitted.reason == "all studies of the validation split have the same score"
    assert np.isnan(fitted.apply(np.array([1.0]))).all()


def test_report_measures_each_map_on_test() -> None:
    val, test = planted(5, patients=150), planted(6, patients=150)
    report = calibration_report(
        log_odds=test.scores, labels=test.labels, validation_log_odds=val.scores, validation_labels=val.labels,
        weights=test.weights, bins=5,
    )  # fmt: skip
    scores, labels = test.known()
    maps = {fit.__name__.removeprefix("fit_"): fit(val.scores, val.labels) for fit in FITS}
    chances = {"none": expit(scores)} | {name: fit.apply(scores) for name, fit in maps.items()}
    assert list(report.quality) == list(chances)
    for name, chance in chances.items():
        quality = report.quality[name]
        assert isinstance(quality, CalibrationQuality)
        assert quality.brier.value == pytest.approx(brier_score_loss(labels, chance), abs=1e-12)
        assert quality.brier.ci95.low < quality.brier.value < quality.brier.ci95.high
        assert (quality.equal_width.binning, quality.equal_mass.binning) == ("equal width", "equal mass")
    assert (report.n, report.n_positive) == (len(labels), labels.sum())
    assert json.loads(json.dumps(as_json(report), allow_nan=False))["platt"]["slope"] == maps["platt"].slope


def test_report_gives_the_reason_where_validation_has_one_class() -> None:
    test = planted(7)
    report = calibration_report(
        log_odds=test.scores, labels=test.labels, validation_log_odds=test.scores,
        validation_labels=np.zeros(len(test.scores)), weights=test.weights,
    )  # fmt: skip
    assert isinstance(report.quality["none"], CalibrationQuality)
    assert report.quality["isotonic"] == f"the validation split has 0 positive and {len(test.scores)} negative studies"
    assert as_json(report)["isotonic"] == {"log_odds": [], "probabilities": [], "reason": report.isotonic.reason}
