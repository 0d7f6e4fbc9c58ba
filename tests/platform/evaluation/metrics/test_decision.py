import json

import numpy as np
import pytest
from scipy.special import expit

from clustered_studies import planted
from polyclinic.evaluation import as_json, percentile_interval
from polyclinic.evaluation.metrics.decision import decision_curve


def net_benefit(flagged: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Compute true positives minus false positives times the odds, per study (Vickers and Elkin 2006)."""
    right = sum(1 for f, y in zip(flagged, labels, strict=True) if f and y == 1)
    wrong = sum(1 for f, y in zip(flagged, labels, strict=True) if f and y == 0)
    return right / len(labels) - wrong / len(labels) * threshold / (1 - threshold)


def test_each_resample_equals_the_formula() -> None:
    data = planted(0, share=0.3)
    data = data._replace(scores=expit(data.scores))
    chances, labels = data.known()
    thresholds = np.array([0.05, float(chances[0]), 0.5, 0.8])
    report = decision_curve(
        probabilities=data.scores, labels=data.labels, thresholds=thresholds, weights=data.weights
    )  # fmt: skip
    assert (report.n, report.treat_none) == (len(labels), (0.0,) * 4)
    for place, threshold in enumerate(thresholds):
        pairs = [
            (net_benefit(c >= threshold, y, threshold), net_benefit(c >= 0, y, threshold))
            for c, y in ((chances, labels), *data.resamples())
        ]
        model, everybody = np.array(pairs).T
        gain = model - np.maximum(everybody, 0)
        for ours, theirs in ((report.model, model), (report.treat_all, everybody), (report.gain, gain)):
            assert ours[place].value == pytest.approx(theirs[0], abs=1e-12)
            assert ours[place].ci95 == pytest.approx(percentile_interval(theirs[1:]), abs=1e-12)


def test_perfect_and_blind_models() -> None:
    labels = np.repeat([0.0, 1.0], [30, 10])
    thresholds, weights = np.array([0.1, 0.25, 0.6]), np.ones((2, 40), dtype=int)
    perfect = decision_curve(probabilities=labels, labels=labels, thresholds=thresholds, weights=weights)
    assert [benefit.value for benefit in perfect.model] == pytest.approx([0.25] * 3)
    blind = decision_curve(probabilities=np.full(40, 0.25), labels=labels, thresholds=thresholds, weights=weights)
    # At a threshold equal to the prevalence, acting on everybody has the same net benefit as acting on nobody.
    assert [benefit.value for benefit in blind.gain] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert blind.treat_all[1].value == pytest.approx(0.0, abs=1e-12)
    assert blind.treat_all[2].value < 0


def test_one_class_is_defined_and_no_label_is_not() -> None:
    def curve(labels: np.ndarray) -> dict:
        report = decision_curve(
            probabilities=np.array([0.2, 0.9]), labels=labels, thresholds=np.array([0.5]),
            weights=np.array([[1, 1], [2, 0]]),
        )  # fmt: skip
        return json.loads(json.dumps(as_json(report), allow_nan=False))

    nobody = curve(np.zeros(2))
    assert nobody["model"][0]["value"] == -0.5
    assert nobody["treat_all"][0]["value"] == -1.0
    unknown = curve(np.full(2, np.nan))
    assert unknown["model"][0] == {"value": None, "ci95": {"low": None, "high": None, "undefined": 2}}
    assert unknown["undefined_values"] == 9


@pytest.mark.parametrize("threshold", [0.0, 1.0, np.nan, 30.0])
def test_refuses_thresholds_without_odds(threshold: float) -> None:
    with pytest.raises(ValueError, match="expected each between 0 and 1"):
        decision_curve(
            probabilities=np.array([0.2]), labels=np.array([1.0]), thresholds=np.array([0.5, threshold]),
            weights=np.ones((1, 1), dtype=int),
        )  # fmt: skip
