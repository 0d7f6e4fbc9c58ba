"""Simple models: the settings that cross-validation chooses, and the scaling that changes no linear model."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from polyclinic.evaluation.metrics.auroc import auroc
from polyclinic.training.simple_models import Scaled, fit_simple


def _data(studies: int = 80, width: int = 300) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(studies, width)) * rng.uniform(0.1, 5, width) + rng.normal(size=width)
    features[:, 7] = 3.0  # constant
    labels = (features[:, 0] / features[:, 0].std() + rng.normal(size=studies) > 0).astype(float)
    return features, labels, [f"p{study // 2}" for study in range(studies)]


def test_the_rotation_preserves_inner_products_of_all_studies() -> None:
    features, _, _ = _data()
    scaled = Scaled(features[:50])
    width = 299  # without the constant one
    standard = StandardScaler().fit(features[:50]).transform(features) / np.sqrt(width)
    ours = scaled(features)
    assert ours.shape[1] < 50
    np.testing.assert_allclose(ours @ ours[:50].T, standard @ standard[:50].T, atol=1e-9)
    assert np.square(ours[:50]).sum(axis=1).mean() == pytest.approx(1)


def test_a_linear_model_on_scaled_features_is_the_one_on_standardised_features() -> None:
    features, labels, _ = _data()
    scaled = Scaled(features)
    # Without a penalty on the intercept the two problems are equal.
    ours = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(scaled(features), labels)
    standard = StandardScaler().fit_transform(features)
    theirs = LogisticRegression(C=1 / 299, tol=1e-10, max_iter=5000).fit(standard, labels)
    np.testing.assert_allclose(
        ours.decision_function(scaled(features)), theirs.decision_function(standard), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("trees", [False, True])
def test_predictions_for_held_out_patients_are_above_chance_and_not_those_of_the_fit(trees: bool) -> None:
    features, labels, patients = _data(200, 10)
    labels[3] = np.nan
    simple = fit_simple(features, labels, patients, binary=True, trees=trees, seed=0)
    assert simple is not None
    assert np.flatnonzero(np.isnan(simple.out_of_fold)).tolist() == [3]
    known = ~np.isnan(labels)
    held_out, fitted = (
        auroc(scores[known], labels[known]) for scores in (simple.out_of_fold, simple.predict(features))
    )
    assert 0.65 < held_out < fitted
    assert simple.setting.startswith("max_leaf_nodes=" if trees else "C=")


def test_noise_gets_the_strongest_penalty_and_signal_a_weaker_one() -> None:
    rng = np.random.default_rng(1)
    features, patients = rng.normal(size=(150, 40)), [str(study) for study in range(150)]
    signal = features @ np.ones(40)
    noise = fit_simple(features, rng.normal(size=150), patients, binary=False, trees=False, seed=0)
    clear = fit_simple(features, signal, patients, binary=False, trees=False, seed=0)
    assert noise is not None
    assert clear is not None
    penalties = [float(simple.setting.partition("=")[2]) for simple in (noise, clear)]
    assert penalties[0] == 1000 > penalties[1]
    np.testing.assert_allclose(clear.out_of_fold, signal, atol=0.1)


def test_no_patient_is_in_two_folds() -> None:
    """A label that only the patient predicts cannot be learned from other patients."""
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(40), 5)
    traits, labels = rng.normal(size=(40, 60))[patients], (rng.random(40) < 0.5).astype(float)[patients]
    simple = fit_simple(traits, labels, [str(each) for each in patients], binary=True, trees=False, seed=0)
    assert simple is not None
    assert auroc(simple.predict(traits), labels) > 0.9
    assert 0.2 < auroc(simple.out_of_fold, labels) < 0.8


@pytest.mark.parametrize("labels", [[0.0] * 6, [0.0, 0, 0, 0, 1, 1], [np.nan] * 6])
def test_a_class_of_a_single_patient_has_no_model(labels: list[float]) -> None:
    features = sparse.random(6, 20, density=0.5, random_state=0, format="csr")
    patients = ["a", "b", "c", "d", "e", "e"]
    assert fit_simple(features, np.array(labels), patients, binary=True, trees=False, seed=0) is None


def test_trees_take_columns_without_a_value_in_all_studies_or_in_a_fold() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(float)
    signal = labels + 0.1 * rng.normal(size=60)
    rare = np.where(np.arange(60) == 7, 1.0, np.nan)
    features = np.stack([signal, np.full(60, np.nan), rare], axis=1)
    patients = [str(number) for number in range(60)]
    simple = fit_simple(features, labels, patients, binary=True, trees=True, seed=0)
    assert simple is not None
    assert auroc(simple.predict(features), labels) > 0.95
