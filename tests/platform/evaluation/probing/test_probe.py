"""Linear probes, and the choice of their penalty, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from polyclinic.evaluation.probing.probe import STRENGTHS, Features, probe_report, probe_scores


def _features(rows: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 6)) * 10 + 3
    labels = np.stack([values[:, 0] + rng.normal(size=rows) * 5 > 3, values[:, 1] > 3, np.ones(rows)], axis=1)
    labels = labels.astype(float)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return Features(values, labels, [f"P{row // 2}" for row in range(rows)])


def test_scores_are_those_of_the_penalty_that_does_best_on_val() -> None:
    train, val, test = _features(200, 0), _features(80, 1), _features(90, 2)
    probed = probe_scores(train, val, test)
    assert (probed[:, 2] == 0).all()
    scaler = StandardScaler().fit(train.values)
    best, expected = -1.0, None
    for strength in STRENGTHS:
        aurocs, columns = [], []
        for column in range(2):
            known = ~np.isnan(train.labels[:, column])
            model = LogisticRegression(C=strength, max_iter=2000)
            model.fit(scaler.transform(train.values[known]), train.labels[known, column])
            labelled = ~np.isnan(val.labels[:, column])
            scores = model.decision_function(scaler.transform(val.values))
            aurocs.append(roc_auc_score(val.labels[labelled, column], scores[labelled]))
            columns.append(model.decision_function(scaler.transform(test.values)))
        if np.mean(aurocs) > best:
            best, expected = float(np.mean(aurocs)), np.stack(columns, axis=1)
    np.testing.assert_allclose(probed[:, :2], expected, atol=1e-8)


def test_the_gain_is_the_difference_of_macro_means_with_an_interval_over_patients() -> None:
    test = _features(90, 2)
    good, bad = np.nan_to_num(test.labels), np.random.default_rng(3).normal(size=test.labels.shape)
    report = probe_report("any", [good, bad], test, ["one", "two", "constant"], resamples=200, seed=0)
    assert report.trained.macro_auroc == 1.0
    assert report.trained.findings_used == 2
    assert report.gain == pytest.approx(1.0 - report.random.macro_auroc)
    assert report.gain_ci95.low < report.gain < report.gain_ci95.high
