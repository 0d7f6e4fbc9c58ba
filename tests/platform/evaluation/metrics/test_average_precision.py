import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from clustered_studies import planted
from polyclinic.evaluation.metrics.average_precision import (
    average_precision,
    average_precision_per_column,
    weighted_average_precision,
)

coarse_scores = arrays(np.float64, 30, elements=st.integers(-6, 6).map(float))
labels_with_a_positive = arrays(np.float64, 30, elements=st.sampled_from([0.0, 1.0, np.nan])).filter(
    lambda labels: 1.0 in labels
)


@given(coarse_scores, labels_with_a_positive)
def test_equals_sklearn_over_known_labels_with_ties(scores: np.ndarray, labels: np.ndarray) -> None:
    known = ~np.isnan(labels)
    expected = average_precision_score(labels[known], scores[known])
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_columns_each_use_their_own_known_studies() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 20, (300, 3)).astype(np.float64)
    labels = np.where(rng.random((300, 3)) < 0.2, np.nan, rng.integers(0, 2, (300, 3)))
    expected = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = ~np.isnan(label)
        expected.append(average_precision_score(label[known], score[known]))
    np.testing.assert_allclose(average_precision_per_column(scores, labels), expected, atol=1e-12)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_every_resample_equals_sklearn_with_ties(share: float) -> None:
    data = planted(3, share=share)
    assert len(set(data.scores)) < len(data.scores), "the case is meant to have ties"
    expected = [
        average_precision_score(labels, scores) if labels.any() else np.nan for scores, labels in data.resamples()
    ]
    values = weighted_average_precision(data.scores, data.labels, data.weights)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_without_a_positive_it_is_nan_and_without_a_negative_one() -> None:
    scores = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    labels = np.array([[0.0, 1.0, np.nan], [0.0, 1.0, np.nan]])
    np.testing.assert_array_equal(average_precision_per_column(scores, labels), [np.nan, 1.0, np.nan])
    values = weighted_average_precision(
        np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.0]), np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0], [0, 0, 0]])
    )
    np.testing.assert_array_equal(values, [1.0, np.nan, 1.0, np.nan])


def test_refuses_uncertain_labels_and_scores_without_rank() -> None:
    with pytest.raises(ValueError, match="NaN for unknown"):
        average_precision(np.array([0.1, 0.2]), np.array([0.0, -1.0]))
    with pytest.raises(ValueError, match="1 scores that are not finite"):
        average_precision(np.array([0.1, np.inf]), np.array([0.0, 1.0]))
