"""k-nearest neighbours: predict findings from the nearest training studies in a frozen embedding."""

import numpy as np
from jaxtyping import Float, Integer
from sklearn.neighbors import NearestNeighbors

from polyclinic.evaluation.probing.probe import Features, validation_macro

COUNTS = (5, 10, 20, 50, 100)
"""Numbers of neighbours among which the validation split chooses."""

_TEMPERATURE = 0.07


def neighbour_scores(train: Features, val: Features, test: Features) -> Float[np.ndarray, "N C"]:
    """Return the vote of the k nearest training studies on each finding: positive minus negative share.

    A neighbour at cosine s votes with weight ``exp(s / 0.07)`` (Wu et al. 2018, "Unsupervised feature learning via
    non-parametric instance discrimination", section 3.4). One whose label is unknown does not vote; where none does,
    the shares are those of all training studies. The number of neighbours is that of ``COUNTS`` with the best macro
    AUROC on val, one for all findings; the smallest of equals.

    Returns:
        From -1 to 1. A finding with training labels of one class gets uninformative zeros.
    """
    largest = min(max(COUNTS), len(train.values))
    index = NearestNeighbors(n_neighbors=largest, metric="cosine", algorithm="brute").fit(train.values)
    # More neighbours than there are studies would be the same vote again.
    counts = sorted({min(count, largest) for count in COUNTS})
    found = [index.kneighbors(one.values) for one in (val, test)]
    voted = [_votes(train.labels, distances, neighbours, counts) for distances, neighbours in found]
    best = max(range(len(counts)), key=lambda place: validation_macro(voted[0][place], val.labels))
    return voted[1][best]


def _votes(
    labels: Float[np.ndarray, "M C"],
    distances: Float[np.ndarray, "N K"],
    neighbours: Integer[np.ndarray, "N K"],
    counts: list[int],
) -> Float[np.ndarray, "k N C"]:
    """Return the vote of the first ``count`` neighbours, for each count."""
    # Of one minus the cosine, relative to the nearest: the constants cancel in the share.
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
