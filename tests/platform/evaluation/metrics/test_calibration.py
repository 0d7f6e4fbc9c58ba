import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from clustered_studies import planted
from polyclinic.evaluation import as_json, percentile_interval
from polyclinic.evaluation.metrics.calibration import bin_edges, reliability, weighted_brier, weighted_calibration_error


def calibration_error_by_loops(chance: np.ndarray, labels: np.ndarray, edges: np.ndarray) -> float:
    """Sum the distances of accuracy and confidence over bins, weighted by |bin| / n."""
    total = 0.0
    for place in range(len(edges) - 1):
        inside = (chance > edges[place]) & (chance <= edges[place + 1])
        if place == 0:
            inside |= chance == edges[0]
        if inside.any():
            total += inside.sum() / len(chance) * abs(labels[inside].mean() - chance[inside].mean())
    return total


@pytest.mark.parametrize("binning", ["equal width", "equal mass"])
def test_error_of_every_resample_equals_loops_over_the_bins_of_all(binning: str) -> None:
    data = planted(0, resamples=20)
    data = data._replace(scores=expit(data.scores))
    chance, _ = data.known()
    edges = np.linspace(0, 1, 8) if binning == "equal width" else np.quantile(chance, np.linspace(0, 1, 8))
    expected = [calibration_error_by_loops(scores, labels, edges) for scores, labels in data.resamples()]
    errors = weighted_calibration_error(data.scores, data.labels, data.weights, bins=7, binning=binning)
    np.testing.assert_allclose(errors, expected, atol=1e-12)


@pytest.mark.parametrize(("binning", "strategy"), [("equal width", "uniform"), ("equal mass", "quantile")])
def test_diagram_equals_sklearn(binning: str, strategy: str) -> None:
    rng = np.random.default_rng(1)
    chance = rng.random(400) ** 3
    labels = (rng.random(400) < chance).astype(float)
    # Without values between 0.5 and 0.7 some bins of equal width are empty; scikit-learn leaves these out.
    chance[(chance > 0.5) & (chance < 0.7)] = 0.5
    shares, means = calibration_curve(labels, chance, n_bins=10, strategy=strategy)
    report = reliability(chance, labels, np.ones((3, 400), dtype=int), bins=10, binning=binning)
    filled = report.count > 0
    assert filled.all() == (binning == "equal mass")
    np.testing.assert_allclose(report.share_positive[filled], shares, atol=1e-12)
    np.testing.assert_allclose(report.mean_probability[filled], means, atol=1e-12)
    assert np.isnan(report.share_positive[~filled]).all()
    assert np.isnan(report.mean_probability[~filled]).all()
    assert report.count.sum() == 400
    expected = np.sum(report.count[filled] / 400 * np.abs(shares - means))
    assert report.calibration_error.value == pytest.approx(expected, abs=1e-12)


def test_intervals_of_the_diagram_are_over_patients() -> None:
    data = planted(2, resamples=60)
    data = data._replace(scores=expit(data.scores))
    report = reliability(data.scores, data.labels, data.weights, bins=4)
    draws = []
    for scores, labels in data.resamples():
        inside = (scores > 0.25) & (scores <= 0.5)
        draws.append(labels[inside].mean() if inside.any() else np.nan)
    assert report.share_ci95[1] == pytest.approx(percentile_interval(np.array(draws)), abs=1e-12)
    errors = [calibration_error_by_loops(*resample, np.linspace(0, 1, 5)) for resample in data.resamples()]
    assert report.calibration_error.ci95 == pytest.approx(percentile_interval(np.array(errors)), abs=1e-12)


def test_brier_of_every_resample_equals_sklearn() -> None:
    data = planted(3)
    data = data._replace(scores=expit(data.scores))
    expected = [brier_score_loss(labels, scores) for scores, labels in data.resamples()]
    np.testing.assert_allclose(weighted_brier(data.scores, data.labels, data.weights), expected, atol=1e-12)


def test_edges_hold_their_lower_bin_and_ties_share_one() -> None:
    report = reliability(
        np.array([0.0, 0.5, 0.5, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]), np.ones((1, 4), dtype=int), bins=2
    )
    np.testing.assert_array_equal(report.count, [3, 1])
    tied = reliability(np.full(6, 0.3), np.eye(6)[0], np.ones((1, 6), dtype=int), bins=3, binning="equal mass")
    assert sorted(tied.count) == [0, 0, 6]
    assert tied.calibration_error.value == pytest.approx(0.3 - 1 / 6)


@pytest.mark.parametrize("binning", ["equal width", "equal mass"])
def test_no_known_label_is_nan_everywhere(binning: str) -> None:
    report = reliability(np.array([0.2, 0.4]), np.full(2, np.nan), np.ones((5, 2), dtype=int), bins=2, binning=binning)
    assert np.isnan(report.calibration_error.value)
    assert report.calibration_error.ci95.undefined == 5
    np.testing.assert_array_equal(report.count, [0, 0])
    plain = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert plain["share_positive"] == [None, None]
    assert plain["edges"] == [0.0, 0.5, 1.0]
    # Two means, two shares, the four limits of their intervals, and the error with both limits.
    assert plain["undefined_values"] == 2 + 2 + 4 + 3


def test_refuses_values_outside_0_to_1_and_wrong_bins() -> None:
    once = np.ones((1, 2), dtype=int)
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"got 1 probabilities .*expit"):
            weighted_brier(np.array([0.5, wrong]), np.array([0.0, 1.0]), once)
    with pytest.raises(ValueError, match="set `bins`"):
        bin_edges(np.array([0.5]), 0, "equal width")
    with pytest.raises(ValueError, match=r"'quantile', expected one of .*equal mass"):
        bin_edges(np.array([0.5]), 3, "quantile")
