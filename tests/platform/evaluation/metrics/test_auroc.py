import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from polyclinic.evaluation import auroc, auroc_per_column, macro_mean, roc_curve

coarse_scores = arrays(np.float64, 30, elements=st.integers(-6, 6).map(float))
labels_of_both_classes = arrays(np.float64, 30, elements=st.sampled_from([0.0, 1.0, np.nan])).filter(
    lambda labels: {0.0, 1.0} <= set(labels)
)


@given(coarse_scores, labels_of_both_classes)
def test_equals_sklearn_over_known_labels_with_ties(scores: np.ndarray, labels: np.ndarray) -> None:
    known = ~np.isnan(labels)
    expected = roc_auc_score(labels[known], scores[known])
    assert auroc(scores, labels) == pytest.approx(expected, abs=1e-12)


@given(coarse_scores, labels_of_both_classes)
def test_monotone_transform_changes_nothing_and_negation_complements(scores: np.ndarray, labels: np.ndarray) -> None:
    value = auroc(scores, labels)
    assert auroc(np.exp(scores) * 3 - 1, labels) == pytest.approx(value, abs=1e-12)
    assert auroc(-scores, labels) == pytest.approx(1 - value, abs=1e-12)
    assert auroc(scores, 1 - labels) == pytest.approx(1 - value, abs=1e-12)


def test_columns_each_use_their_own_known_studies() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 20, (300, 4)).astype(np.float64)
    labels = np.where(rng.random((300, 4)) < 0.2, np.nan, rng.integers(0, 2, (300, 4)))
    expected = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = ~np.isnan(label)
        expected.append(roc_auc_score(label[known], score[known]))
    np.testing.assert_allclose(auroc_per_column(scores, labels), expected, atol=1e-12)
    tensors = torch.tensor(scores, dtype=torch.bfloat16), torch.tensor(labels, dtype=torch.float32)
    np.testing.assert_allclose(auroc_per_column(*tensors), expected, atol=1e-12)


def test_absent_class_is_nan_and_leaves_the_mean() -> None:
    scores = np.array([[0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9]])
    labels = np.array([[0.0, 0.0, np.nan, 0.0], [1.0, 0.0, np.nan, 1.0]])
    values = auroc_per_column(scores, labels)
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan, 1.0])
    assert macro_mean(values) == (1.0, 2)
    nothing = macro_mean(np.array([np.nan]))
    assert np.isnan(nothing.mean)
    assert nothing.used == 0


def test_refuses_uncertain_labels_and_scores_without_rank() -> None:
    with pytest.raises(ValueError, match=r"-1.*NaN for unknown.*cohort.yaml"):
        auroc(np.array([0.1, 0.2, 0.3]), np.array([0.0, 1.0, -1.0]))
    with pytest.raises(ValueError, match="1 scores that are not finite"):
        auroc(np.array([0.1, np.nan, 0.3]), np.array([0.0, 1.0, 1.0]))


def test_roc_curve_encloses_the_auroc() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 9, 200) / 3, rng.integers(0, 2, 200).astype(float)
    labels[:20] = np.nan
    curve = roc_curve(scores, labels)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(auroc(scores, labels), abs=1e-12)
    with pytest.raises(ValueError, match="0 positive and 2 negative"):
        roc_curve(np.array([0.1, 0.2]), np.array([0.0, 0.0]))
