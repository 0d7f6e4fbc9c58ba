"""Votes of nearest neighbours against a loop over the formula of the paper."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polyclinic.evaluation.probing.neighbours import COUNTS, neighbour_scores
from polyclinic.evaluation.probing.probe import Features


def features(rows: int, seed: int, unknown: float = 0.2) -> Features:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 5)) * rng.uniform(0.1, 9, size=(rows, 1))
    signal = values / np.linalg.norm(values, axis=1, keepdims=True) + rng.normal(size=(rows, 5)) * 0.4
    labels = np.stack([signal[:, 0] > 0.2, signal[:, 1] > 0, np.ones(rows), np.zeros(rows)], axis=1).astype(float)
    labels[rng.random(labels.shape) < unknown] = np.nan
    labels[:, 3] = np.nan
    return Features(values, labels, [f"P{row // 2}" for row in range(rows)])


def vote(train: Features, study: np.ndarray, column: int, count: int) -> float:
    """Compute the vote by the equation of Wu et al. (2018, section 3.4)."""
    cosines = [float(row @ study / np.linalg.norm(row) / np.linalg.norm(study)) for row in train.values]
    nearest = sorted(range(len(cosines)), key=lambda row: -cosines[row])[:count]
    votes = {0.0: 0.0, 1.0: 0.0}
    for row in nearest:
        if train.labels[row, column] in votes:
            votes[train.labels[row, column]] += math.exp(cosines[row] / 0.07)
    if not any(votes.values()):
        return 2 * float(np.nanmean(train.labels[:, column])) - 1
    return (votes[1.0] - votes[0.0]) / sum(votes.values())


@pytest.mark.parametrize("rows", [130, 33, 4])
def test_scores_are_votes_of_the_number_of_neighbours_that_does_best_on_val(rows: int) -> None:
    train, val, test = features(rows, 0), features(60, 1), features(50, 2)
    scores = neighbour_scores(train, val, test)
    best, expected = -1.0, np.empty(0)
    for count in COUNTS:
        aurocs = []
        for column in range(2):
            known = ~np.isnan(val.labels[:, column])
            votes = [vote(train, study, column, count) for study in val.values[known]]
            # Rounding keeps equal votes tied, although the order of summation differs.
            aurocs.append(roc_auc_score(val.labels[known, column], np.round(votes, 9)))
        if np.mean(aurocs) > best + 1e-9:
            best = float(np.mean(aurocs))
            expected = np.array([[vote(train, study, column, count) for column in range(2)] for study in test.values])
    np.testing.assert_allclose(scores[:, :2], expected, atol=1e-8)
    assert (scores[:, 2:] == 0).all(), "findings with one class or no known label must score zero"


def test_neighbours_whose_label_is_unknown_leave_the_vote_to_the_others() -> None:
    values = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    labels = np.array([[np.nan]] * 5 + [[1.0], [1.0], [1.0], [0.0], [np.nan]])
    train = Features(values, labels, list("abcdefghij"))
    val = Features(np.array([[1.0, 0.1], [0.1, 1.0]]), np.array([[0.0], [1.0]]), ["v", "w"])
    test = Features(np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), np.full((3, 1), np.nan), ["x", "y", "z"])
    scores = neighbour_scores(train, val, test)
    # The first study has only neighbours of unknown label, so it gets the share of all training studies. The second
    # gets a vote of 3 to 1.
    np.testing.assert_allclose(scores[:2, 0], [0.5, 0.5], atol=1e-12)
    assert np.isfinite(scores).all()


def test_without_a_label_on_val_the_fewest_neighbours_vote() -> None:
    train, test = features(130, 0), features(20, 2)
    val = features(10, 1)._replace(labels=np.full((10, 4), np.nan))
    expected = [vote(train, study, 0, COUNTS[0]) for study in test.values]
    np.testing.assert_allclose(neighbour_scores(train, val, test)[:, 0], expected, atol=1e-8)
