"""k-nearest neighbours: prediction of findings from the nearest training studies in a frozen embedding."""

import numpy as np
from jaxtyping import Float, Integer
from sklearn.neighbors import NearestNeighbors

from polyclinic.evaluation.probing.probe import Features, validation_macro

COUNTS = (5, 10, 20, 50, 100)
"""Numbers of neighbours among which the validation split chooses."""

_TEMPERATURE = 0.07


def neighbour_scores(train: Features, val: Features, test: Features) -> Float[np.ndarray, "N C"]:
    """Return the vote of the k nearest training studies on each finding: positive minus negative share.

    A neighbour with cosine similarity s votes with weight ``exp(s / 0.07)`` (Wu et al. 2018, "Unsupervised feature
    learning via non-parametric instance discrimination", section 3.4). Neighbours with an unknown label do not vote; if
    no neighbour has a known label, the shares are those of all training studies. All findings use the same k: the one
    of ``COUNTS`` with the best macro AUROC on val, or the smallest of several.

    Returns:
        Votes from -1 to 1; 0 for a finding whose training labels have a single class.
    """
    largest = min(max(COUNTS), len(train.values))
    index = NearestNeighbors(n_neighbors=largest, metric="cosine", algorithm="brute").fit(train.values)
    # All counts beyond the number of studies give the same vote.
    counts = sorted({min(count, largest) for count in COUNTS})
    nearest = [index.kneighbors(features.values) for features in (val, test)]
    val_votes, test_votes = (_votes(train.labels, distances, rows, counts) for distances, rows in nearest)
    best = max(range(len(counts)), key=lambda place: validation_macro(val_votes[place], val.labels))
    return test_votes[best]


def _votes(
    labels: Float[np.ndarray, "M C"],
    distances: Float[np.ndarray, "N K"],
    neighbours: Integer[np.ndarray, "N K"],
    counts: list[int],
) -> Float[np.ndarray, "k N C"]:
    """Return the vote of the first ``count`` neighbours, for each count."""
    # The distance is one minus the cosine; constant factors such as the weight of the nearest cancel in the share.
    weights = np.exp((distances[:, :1] - distances) / _TEMPERATURE)
    last = np.array(counts) - 1
    result = np.zeros((len(counts), len(neighbours), labels.shape[1]))
    for column, truth in enumerate(labels.T):
        known = truth[~np.isnan(truth)]
        if len(np.unique(known)) < 2:
            continue
        votes = truth[neighbours]
        total = np.cumsum(np.where(np.isnan(votes), 0.0, weights), axis=1)[:, last]
        positive = np.cumsum(np.where(votes == 1, weights, 0.0), axis=1)[:, last]
        share = np.where(total > 0, positive / np.where(total > 0, total, 1.0), known.mean())
        result[:, :, column] = (2 * share - 1).T
    return result
