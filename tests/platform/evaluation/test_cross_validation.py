"""Scores of several models: compared within folds only, with intervals that cover."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from polyclinic.evaluation.cross_validation import FoldedReport, folded_report


def _report(scores: np.ndarray, labels: np.ndarray, folds: np.ndarray, **settings: int) -> FoldedReport:
    return folded_report(
        scores=scores[:, None], labels=labels[:, None], patient_ids=[str(place) for place in range(len(scores))],
        folds=folds.tolist(), findings=["finding"], resamples=settings.get("resamples", 50), seed=0,
    )  # fmt: skip


def test_the_value_is_the_mean_over_folds_whatever_the_scale_of_each_model() -> None:
    rng = np.random.default_rng(0)
    folds, labels = np.arange(120) % 4, rng.integers(0, 2, 120).astype(float)
    scores = labels + rng.normal(size=120)
    by_fold = [roc_auc_score(labels[folds == fold], scores[folds == fold]) for fold in range(4)]
    report = _report(scores, labels, folds)
    assert report.findings[0].by_fold == pytest.approx(by_fold)
    assert report.macro.value == pytest.approx(np.mean(by_fold))
    shifted = _report(scores * (1 + folds) + 10 * folds, labels, folds)
    assert shifted.macro == report.macro


def test_a_fold_without_positives_is_left_out_and_the_counts_are_of_all() -> None:
    labels = np.array([0.0, 1, 0, 1, 0, 0, np.nan])
    report = _report(np.array([0.0, 1, 0, 1, 0, 1, 5]), labels, np.array([0, 0, 1, 1, 2, 2, 2]))
    (finding,) = report.findings
    assert finding.by_fold[:2] == (1.0, 1.0)
    assert np.isnan(finding.by_fold[2])
    assert (finding.auroc.value, finding.n, finding.n_positive) == (1.0, 6, 2)
    assert finding.auroc.ci95.low < 0.7  # two positives are little evidence


def test_a_finding_without_both_classes_anywhere_is_undefined() -> None:
    report = _report(np.arange(6.0), np.zeros(6), np.array([0, 0, 0, 1, 1, 1]))
    assert np.isnan(report.macro.value)
    assert np.isnan(report.findings[0].auroc.value)


def test_intervals_cover_the_mean_of_the_folds_models() -> None:
    """The true AUROC of each fold's model is known: normal scores whose means differ by its ``shift``."""
    rng = np.random.default_rng(1)
    folds = np.arange(200) % 5
    shifts = np.array([0.5, 0.8, 1.0, 1.2, 1.5])
    truth = norm.cdf(shifts / np.sqrt(2)).mean()
    covered = 0
    for _ in range(400):
        labels = (rng.random(200) < 0.2).astype(float)
        scores = rng.normal(size=200) + labels * shifts[folds]
        interval = _report(scores, labels, folds, resamples=1).findings[0].auroc.ci95
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / 400 <= 0.99
