"""Classes, levels and quantities against scikit-learn, on all studies and on each resample."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error, r2_score

from polyclinic.cohort import Target
from polyclinic.evaluation.metrics.agreement import agreement_report, binary_columns, weighted_kappa, weighted_r2
from polyclinic.evaluation.metrics.intervals import patient_resamples

TARGETS = (
    Target(name="edema"),
    Target(name="view", kind="class", names=("AP", "PA", "LL")),
    Target(name="grade", kind="level", names=("none", "mild", "severe")),
    Target(name="age", kind="quantity", unit="years"),
)
N = 60
RNG = np.random.default_rng(0)
READINGS = np.concatenate([RNG.normal(size=(N, 4)), RNG.uniform(0, 2, (N, 1)), RNG.normal(60, 9, (N, 1))], axis=1)
LABELS = np.stack(
    [RNG.integers(0, 2, N), RNG.integers(0, 3, N), RNG.integers(0, 3, N), READINGS[:, 5] + RNG.normal(0, 4, N)], axis=1
).astype(float)
LABELS[RNG.random(LABELS.shape) < 0.2] = np.nan
PATIENTS = [f"P{i // 2}" for i in range(N)]


def test_measures_equal_scikit_learn() -> None:
    view, grade, age = agreement_report(
        predictions=READINGS, labels=LABELS, targets=TARGETS, patient_ids=PATIENTS, resamples=20, seed=0
    )
    known = ~np.isnan(LABELS)
    assert view.measures["accuracy"].value == pytest.approx(
        accuracy_score(LABELS[known[:, 1], 1], READINGS[known[:, 1], 1:4].argmax(axis=1)), abs=1e-12
    )
    levels, truth = READINGS[known[:, 2], 4], LABELS[known[:, 2], 2]
    assert grade.measures["mean absolute error"].value == pytest.approx(mean_absolute_error(truth, levels), abs=1e-12)
    assert grade.measures["quadratic kappa"].value == pytest.approx(
        cohen_kappa_score(truth.astype(int), np.rint(levels).astype(int), weights="quadratic"), abs=1e-12
    )
    assert age.measures["r2"].value == pytest.approx(
        r2_score(LABELS[known[:, 3], 3], READINGS[known[:, 3], 5]), abs=1e-12
    )
    assert (age.n, age.unit, age.kind) == (int(known[:, 3].sum()), "years", "quantity")
    assert all(measure.ci95.low < measure.value < measure.ci95.high for measure in age.measures.values())


def test_resamples_equal_scikit_learn_on_repeated_studies() -> None:
    weights = patient_resamples(PATIENTS, 15, seed=3)
    kappas, quantity = weighted_kappa(np.rint(READINGS[:, 4]), LABELS[:, 2], weights), LABELS[:, 3]
    scores = weighted_r2(READINGS[:, 5], quantity, weights)
    for row, kappa, r2 in zip(weights, kappas, scores, strict=True):
        repeated = np.repeat(np.arange(N), row)
        graded = repeated[~np.isnan(LABELS[repeated, 2])]
        assert kappa == pytest.approx(
            cohen_kappa_score(
                LABELS[graded, 2].astype(int), np.rint(READINGS[graded, 4]).astype(int), weights="quadratic"
            ),
            abs=1e-10,
        )
        aged = repeated[~np.isnan(quantity[repeated])]
        assert r2 == pytest.approx(r2_score(quantity[aged], READINGS[aged, 5]), abs=1e-10)


def test_undefined_measures_are_nan() -> None:
    same = np.full(N, 1.0)
    weights = patient_resamples(PATIENTS, 3, seed=0)
    assert np.isnan(weighted_r2(READINGS[:, 5], same, weights)).all()
    assert np.isnan(weighted_kappa(same, same, weights)).all()
    unknown = np.full_like(LABELS, np.nan)
    for result in agreement_report(
        predictions=READINGS, labels=unknown, targets=TARGETS, patient_ids=PATIENTS, resamples=5, seed=0
    ):
        assert result.n == 0
        assert all(np.isnan([measure.value, *measure.ci95[:2]]).all() for measure in result.measures.values())


def test_each_class_becomes_a_column_against_the_others() -> None:
    binary = binary_columns(READINGS, LABELS, TARGETS)
    assert binary.names == ["edema", "view=AP", "view=PA", "view=LL"]
    np.testing.assert_array_equal(binary.scores, READINGS[:, :4])
    known = ~np.isnan(LABELS[:, 1])
    assert np.isnan(binary.labels[~known, 1:]).all()
    np.testing.assert_array_equal(binary.labels[known, 1:].argmax(axis=1), LABELS[known, 1])
    np.testing.assert_array_equal(binary.labels[known, 1:].sum(axis=1), 1)
    assert binary_columns(READINGS[:, 5:], LABELS[:, 3:], TARGETS[3:]).names == []
