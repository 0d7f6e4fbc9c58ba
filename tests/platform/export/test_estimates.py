"""Errors and intervals of levels and quantities, against plain loops over their definitions."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch

from polyclinic.evaluation import patient_resamples
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.agreement import estimate_columns
from polyclinic.evaluation.scorers import TrainedScorer
from polyclinic.export.estimates import _rule, learn_estimate_rules, measure_errors
from polyclinic.nn.targets import Target

TARGET = Target(name="fraction", kind="quantity", unit="%")


def _studies(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.normal(50, 10, size=count)
    labels[::7] = np.nan
    return labels + rng.normal(0, 3, size=count), labels, [f"P{row // 2}" for row in range(count)]


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.41])
def test_the_half_width_is_the_ranked_absolute_error(alpha: float) -> None:
    values, labels, patients = _studies(60)
    rule = _rule(values, labels, 50.0, patients, patient_resamples(patients, 20, 0), alpha)
    errors = sorted(abs(v - t) for v, t in zip(values, labels, strict=True) if not math.isnan(t))
    rank = math.ceil(round((len(errors) + 1) * (1 - alpha), 9))
    assert rule.half_width == pytest.approx(errors[rank - 1])
    assert rule.studies == len(errors)
    assert rule.patients == len({p for p, t in zip(patients, labels, strict=True) if not math.isnan(t)})
    assert rule.error is not None
    assert rule.error[0] == pytest.approx(np.mean(errors))
    assert rule.error[1] < rule.error[0] < rule.error[2]
    assert rule.guess == pytest.approx(np.nanmean(np.abs(50.0 - labels)))
    assert rule.problem is None
    assert rule.contradiction() is None


def test_intervals_cover_the_stated_share_of_new_studies() -> None:
    hits = []
    for seed in range(200):
        values, labels, patients = _studies(40, seed)
        rule = _rule(values, labels, 50.0, patients, patient_resamples(patients, 2, 0), 0.2)
        new_values, new_labels, _ = _studies(40, seed + 1000)
        assert rule.half_width is not None
        known = ~np.isnan(new_labels)
        hits.append(np.mean(np.abs(new_values - new_labels)[known] <= rule.half_width))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.04)


def _problem(values: np.ndarray, labels: np.ndarray, patients: list[str]) -> str:
    rule = _rule(values, labels, 50.0, patients, patient_resamples(patients, 10, 0), 0.1)
    assert rule.contradiction() is None
    return str(rule.problem)


def test_an_estimate_without_evidence_has_a_problem() -> None:
    values, labels, patients = _studies(60)
    assert "an estimate needs 3" in _problem(values[:4], labels[:4], patients[:4])
    assert "not below the" in _problem(values + 30, labels, patients)
    assert "the same in all" in _problem(values, np.where(np.isnan(labels), np.nan, 45.0), patients)
    assert "validation has 0 patients" in _problem(values, np.full(60, np.nan), patients)


def test_too_few_studies_have_no_interval_and_two_patients_an_open_error() -> None:
    values, labels, patients = _studies(60)
    few = _rule(values[1:5], labels[1:5], 50.0, patients[1:5], patient_resamples(patients[1:5], 10, 0), 0.1)
    assert few.half_width is None
    pair = _rule(values[1:4], labels[1:4], 50.0, patients[1:4], patient_resamples(patients[1:4], 10, 0), 0.5)
    assert pair.patients == 2
    assert pair.error is not None
    assert pair.error[1:] == (0.0, pytest.approx(np.abs(values - labels)[1:4].max()))


class _Scorer:
    """Estimates a quantity from the sum of the given modalities."""

    modalities = ("a", "b")

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values

    def estimates(self, studies: EmbeddedSplit, modalities: Any) -> Any:
        rows = [int(study) for study in studies.study_ids]
        total = sum(self.values[name][rows] for name in modalities)
        return estimate_columns(np.asarray(total)[:, None], studies.labels, [TARGET])


def test_each_subset_uses_the_studies_that_have_all_of_it() -> None:
    values, labels, patients = _studies(30)
    present = {"a": torch.arange(30) % 3 > 0, "b": torch.arange(30) % 5 > 0}
    split = EmbeddedSplit(
        split="val", embeddings={}, present=present, labels=torch.tensor(labels)[:, None], outcomes=np.empty((30, 0)),
        study_ids=[str(row) for row in range(30)], patient_ids=patients, groups={}, batches=(),
    )  # fmt: skip
    scorer = cast(TrainedScorer, _Scorer({"a": values / 2, "b": values / 2}))
    rules = learn_estimate_rules(scorer, split, {"fraction": 50.0}, alpha=0.1, resamples=5, seed=0)
    assert list(rules) == ["a", "b", "a+b"]
    rows = {"a": present["a"], "b": present["b"], "a+b": present["a"] & present["b"]}
    for key, mask in rows.items():
        known = mask.numpy() & ~np.isnan(labels)
        factor = 1.0 if key == "a+b" else 0.5
        rule = rules[key]["fraction"]
        assert rule.studies == known.sum()
        assert rule.error is not None
        assert rule.error[0] == pytest.approx(np.abs(factor * values - labels)[known].mean(), rel=1e-6)
    assert rules["a"]["fraction"].problem is not None
    assert rules["a+b"]["fraction"].problem is None
    measured = measure_errors(scorer, split, {"fraction": 50.0}, resamples=5, seed=0)["fraction"]
    assert measured.n == int((~np.isnan(labels)).sum())
    assert measured.guess == pytest.approx(np.nanmean(np.abs(50 - labels)), rel=1e-6)
