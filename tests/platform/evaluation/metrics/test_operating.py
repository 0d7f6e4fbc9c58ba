import json

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from clustered_studies import planted, wilson
from polyclinic.evaluation import as_json, patient_resamples
from polyclinic.evaluation.metrics.calibration import weighted_brier
from polyclinic.evaluation.metrics.intervals import check_lengths, estimate
from polyclinic.evaluation.metrics.operating import Threshold, operating_points, operating_threshold


def rates_at(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[float, float]:
    flagged = scores >= threshold
    return float(flagged[labels == 1].mean()), float((~flagged[labels == 0]).mean())


@pytest.mark.parametrize("seed", range(8))
def test_youden_is_the_highest_threshold_of_the_largest_sum(seed: int) -> None:
    data = planted(seed, share=0.3)
    scores, labels = data.known()
    false_positive, true_positive, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    gains = true_positive - false_positive
    expected = max(t for t, gain in zip(thresholds, gains, strict=True) if gain > gains.max() - 1e-12)
    assert operating_threshold(data.scores, data.labels, "youden") == Threshold(expected, "youden", None)


def test_of_equal_sums_the_highest_threshold_is_taken() -> None:
    # Threshold 1 flags both positive studies and one negative; threshold 3 flags one positive. Both sums are 1 + 1/2.
    assert operating_threshold(np.arange(4.0), np.array([0.0, 1.0, 0.0, 1.0]), "youden").value == 3.0


@pytest.mark.parametrize("at_least", [0.1, 0.5, 0.8, 0.95, 1.0])
def test_a_wanted_rate_is_reached_at_the_least_cost(at_least: float) -> None:
    data = planted(2, share=0.4)
    scores, labels = data.known()
    candidates = sorted(set(scores))
    sensitive = operating_threshold(data.scores, data.labels, "sensitivity", at_least)
    specific = operating_threshold(data.scores, data.labels, "specificity", at_least)
    assert sensitive.value == max(t for t in candidates if rates_at(scores, labels, t)[0] >= at_least)
    assert specific.value == min(t for t in candidates if rates_at(scores, labels, t)[1] >= at_least)
    assert sensitive.rule == f"sensitivity of at least {at_least:g}"


def test_a_rate_that_is_reached_exactly_counts() -> None:
    scores, labels = np.arange(20.0), np.repeat([0.0, 1.0], 10)
    assert operating_threshold(scores, labels, "sensitivity", 0.9).value == 11.0
    assert operating_threshold(scores, labels, "specificity", 0.9).value == 9.0


def test_unmet_rules_are_nan_with_the_reason() -> None:
    scores = np.array([1.0, 2.0, 3.0, 3.0])
    unmet = operating_threshold(scores, np.array([0.0, 1.0, 0.0, 1.0]), "specificity", 0.9)
    assert np.isnan(unmet.value)
    assert unmet.reason == "thresholds that flag any study of the validation split reach 0.5 at most"
    for rule, at_least in (("youden", None), ("sensitivity", 0.5), ("specificity", 0.5)):
        alone = operating_threshold(scores, np.array([1.0, 1.0, np.nan, 1.0]), rule, at_least)
        assert np.isnan(alone.value)
        assert alone.reason == "the validation split has 3 positive and 0 negative studies"
    backwards = operating_threshold(scores, np.array([1.0, 1.0, 0.0, 0.0]), "youden")
    assert np.isnan(backwards.value)
    assert backwards.reason is not None
    assert "better than chance" in backwards.reason


@pytest.mark.parametrize(
    ("rule", "at_least", "message"),
    [
        ("f1", None, r"'f1', expected one of .*youden"),
        ("youden", 0.9, "leave it out"),
        ("sensitivity", None, "set `at_least`"),
        ("specificity", 95, "at most 1; set `at_least`"),
    ],
)
def test_wrong_rules_are_refused(rule: str, at_least: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operating_threshold(np.array([1.0, 2.0]), np.array([0.0, 1.0]), rule, at_least)


def test_table_has_the_rates_counts_and_intervals_of_test() -> None:
    data = planted(5, resamples=200)
    scores, labels = data.known()
    unmet = Threshold(float("nan"), "specificity of at least 0.99", "a reason")
    high, undefined, low = operating_points(
        scores=data.scores, labels=data.labels, thresholds=[Threshold(1.0, "given"), unmet, Threshold(-0.7, "given")],
        weights=data.weights,
    )  # fmt: skip
    for point, threshold in ((high, 1.0), (low, -0.7)):
        sensitivity, specificity = rates_at(scores, labels, threshold)
        assert (point.sensitivity.value, point.specificity.value) == pytest.approx((sensitivity, specificity))
        assert point.true_positive == ((scores >= threshold) & (labels == 1)).sum()
        assert point.false_negative == ((scores < threshold) & (labels == 1)).sum()
        assert point.flagged.value == pytest.approx((scores >= threshold).mean())
        assert point.ppv.value == pytest.approx(labels[scores >= threshold].mean())
        assert point.npv.value == pytest.approx(1 - labels[scores < threshold].mean())
        flagged, ids = data.scores >= threshold, np.array(data.patient_ids)
        for rate, hits, among in (
            (point.sensitivity, flagged, data.labels == 1),
            (point.npv, data.labels == 0, ~flagged & ~np.isnan(data.labels)),
        ):
            assert rate.ci95[:2] == pytest.approx(wilson(hits[among], ids[among].tolist()), abs=1e-9)
    assert undefined.threshold == unmet
    assert np.isnan([undefined.sensitivity.value, undefined.ppv.value, undefined.ppv.ci95.low]).all()
    assert undefined.true_positive is None


def test_the_interval_of_a_single_patient_is_wide() -> None:
    scores, labels = np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    (point,) = operating_points(
        scores=scores, labels=labels, thresholds=[Threshold(2.5, "given")],
        weights=patient_resamples(["only"] * 4, 30, 0),
    )  # fmt: skip
    assert point.sensitivity.value == 0.5
    assert point.sensitivity.ci95[:2] == pytest.approx(wilson(np.array([1, 0]), ["only"] * 2))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"got 3 labels, expected one for each of the 4 resampled studies"):
        check_lengths(np.ones((2, 4), dtype=int), scores=np.ones(4), labels=np.ones(3))


def test_estimate_is_of_the_studies_and_json_names_its_parts() -> None:
    data = planted(6)
    chance = 1 / (1 + np.exp(-data.scores))
    report = estimate(lambda drawn: weighted_brier(chance, data.labels, drawn), data.weights)
    known = ~np.isnan(data.labels)
    assert report.value == pytest.approx(((chance - data.labels)[known] ** 2).mean(), abs=1e-12)
    (point,) = operating_points(
        scores=data.scores, labels=data.labels, thresholds=[Threshold(float("nan"), "youden", "why")],
        weights=data.weights,
    )  # fmt: skip
    plain = json.loads(json.dumps(as_json(point), allow_nan=False))
    assert plain["threshold"] == {"value": None, "rule": "youden", "reason": "why"}
    assert plain["npv"] == {"value": None, "ci95": {"low": None, "high": None, "undefined": 0}}
    # The threshold, and five rates with a value and two limits each.
    assert plain["undefined_values"] == 1 + 5 * 3
