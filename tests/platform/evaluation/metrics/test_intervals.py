import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from polyclinic.evaluation import mean_interval, patient_resamples, percentile_interval, weighted_auroc, weighted_mean


def expanded(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Repeat each study of a resample as often as its weight."""
    return np.repeat(values, weights)


def clustered_study(seed: int, patients: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    ids = [f"p{patient}" for patient in range(patients) for _ in range(rng.integers(1, 4))]
    labels = rng.integers(0, 2, len(ids)).astype(float)
    return np.round(rng.normal(labels, 1.2), 1), labels, ids


def test_weights_are_of_complete_patients_drawn_with_replacement() -> None:
    ids = ["b", "a", "b", "c", "a", "b"]
    weights = patient_resamples(ids, 4000, 0)
    by_patient = {name: weights[:, [i for i, patient in enumerate(ids) if patient == name]] for name in "abc"}
    assert all((columns == columns[:, :1]).all() for columns in by_patient.values())
    drawn = np.stack([columns[:, 0] for columns in by_patient.values()], axis=1)
    assert (drawn.sum(axis=1) == 3).all()
    # Each of three patients is drawn Binomial(3, 1/3) times: mean 1, variance 2/3.
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(drawn.var(axis=0), 2 / 3, atol=0.05)


def test_resamples_follow_the_patient_not_the_order_of_studies() -> None:
    ids = ["b", "a", "b", "c"]
    weights = patient_resamples(ids, 20, 3)
    np.testing.assert_array_equal(patient_resamples(ids[::-1], 20, 3), weights[:, ::-1])
    np.testing.assert_array_equal(patient_resamples(ids, 5, 3), weights[:5])
    assert (patient_resamples(ids, 20, 4) != weights).any()


def test_weighted_auroc_equals_sklearn_on_the_expanded_resample() -> None:
    for seed, share in ((0, 0.5), (1, 0.1), (2, 0.9)):
        scores, _, ids = clustered_study(seed)
        rng = np.random.default_rng(seed)
        labels = (rng.random(len(scores)) < share).astype(float)
        labels[rng.random(len(scores)) < 0.1] = np.nan
        known = ~np.isnan(labels)
        weights = patient_resamples(ids, 50, seed)
        expected = [
            roc_auc_score(expanded(labels[known], row[known]), expanded(scores[known], row[known])) for row in weights
        ]
        assert len(set(scores)) < len(scores), "the case is meant to have ties"
        np.testing.assert_allclose(weighted_auroc(scores, labels, weights), expected, atol=1e-12)


def test_neither_other_resamples_nor_the_layout_of_the_weights_change_a_resample() -> None:
    rng = np.random.default_rng(5)
    scores, labels = rng.normal(size=5000).round(2), rng.integers(0, 2, 5000).astype(float)
    weights = patient_resamples([str(i) for i in range(5000)], 130, 5)
    complete = weighted_auroc(scores, labels, weights)
    for row in (0, 51, 129):
        assert complete[row] == weighted_auroc(scores, labels, weights[row : row + 1])[0]
    for other in (np.ascontiguousarray(weights), weights.astype(np.uint8), weights.astype(np.int64)):
        np.testing.assert_array_equal(weighted_auroc(scores, labels, other), complete)


def test_more_pairs_than_fit_an_int32_are_counted() -> None:
    labels = np.repeat([0.0, 1.0], [1, 3])
    weights = np.array([[100_000, 0, 50_000, 50_000]], dtype=np.int32)
    # Half of the positive studies tie with the negative one, the other half win.
    assert weighted_auroc(np.array([1.0, 9.0, 1.0, 2.0]), labels, weights)[0] == 0.75


def test_no_studies_are_undefined() -> None:
    nothing, weights = np.empty(0), np.empty((3, 0), dtype=np.int32)
    assert np.isnan(weighted_auroc(nothing, nothing, weights)).all()
    assert np.isnan(weighted_mean(nothing, weights)).all()


def test_single_class_resamples_are_counted_not_averaged() -> None:
    scores, labels = np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.0])
    values = weighted_auroc(scores, labels, np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan, np.nan])
    assert percentile_interval(values) == (1.0, 1.0, 3)
    empty = percentile_interval(np.full(7, np.nan))
    assert np.isnan([empty.low, empty.high]).all()
    assert empty.undefined == 7


def test_percentiles_of_known_values() -> None:
    values = np.random.default_rng(0).permutation(1001) / 1000
    assert percentile_interval(values, 0.9) == pytest.approx((0.05, 0.95, 0))
    with pytest.raises(ValueError, match="level 95"):
        percentile_interval(values, 95)


def test_mean_interval_agrees_with_scipy_for_one_study_per_patient() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    weights = patient_resamples([str(i) for i in range(200)], 4000, 1)
    ours = mean_interval(values, weights)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_weighted_mean_leaves_out_unknown_values() -> None:
    values, weights = np.array([1.0, np.nan, 4.0]), np.array([[1, 1, 1], [2, 5, 1], [0, 3, 0]])
    np.testing.assert_allclose(weighted_mean(values, weights), [2.5, 2.0, np.nan])
    assert mean_interval(values, weights).undefined == 1


def test_repeating_every_study_of_a_patient_does_not_narrow_the_interval() -> None:
    scores, labels, ids = clustered_study(7)
    once = percentile_interval(weighted_auroc(scores, labels, patient_resamples(ids, 800, 0)))
    scores4, labels4, ids4 = np.tile(scores, 4), np.tile(labels, 4), ids * 4
    clustered = percentile_interval(weighted_auroc(scores4, labels4, patient_resamples(ids4, 800, 0)))
    by_row = [str(row) for row in range(len(ids4))]
    naive = percentile_interval(weighted_auroc(scores4, labels4, patient_resamples(by_row, 800, 0)))
    assert clustered == pytest.approx(once, abs=1e-12)
    assert naive.high - naive.low < 0.7 * (once.high - once.low), "resampling rows must give too narrow an interval"


def test_interval_covers_the_truth_at_the_nominal_rate() -> None:
    """Studies come in identical threes: 90 % intervals over patients have their coverage, those over rows do not."""
    covered = {"patients": 0, "rows": 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        label = np.arange(100) % 2
        score = rng.normal(label * np.sqrt(2) * 0.6744897501960817, 1)  # d' of sqrt(2) * 0.674 gives AUROC 0.75
        scores, labels = np.repeat(score, 3), np.repeat(label, 3).astype(float)
        clusters = {"patients": [str(i // 3) for i in range(300)], "rows": [str(i) for i in range(300)]}
        for name, ids in clusters.items():
            low, high, _ = percentile_interval(weighted_auroc(scores, labels, patient_resamples(ids, 200, seed)), 0.9)
            covered[name] += low <= 0.75 <= high
    assert 0.83 < covered["patients"] / 150 < 0.97
    assert covered["rows"] / 150 < 0.8


def test_refuses_nothing_to_resample() -> None:
    with pytest.raises(ValueError, match="no studies"):
        patient_resamples([], 10, 0)
    with pytest.raises(ValueError, match="`resamples`"):
        patient_resamples(["a"], 0, 0)
