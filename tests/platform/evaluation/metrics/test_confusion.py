import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from clustered_studies import planted
from polyclinic.evaluation.metrics.confusion import weighted_confusion

# Unsorted, with a duplicate and two values beyond every score; 0.5 and -1 also occur as scores.
THRESHOLDS = np.array([0.5, -np.inf, 2.05, -1.0, 0.5, np.inf])


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_counts_and_rates_of_every_resample_equal_sklearn(share: float) -> None:
    data = planted(1, share=share)
    counts = weighted_confusion(data.scores, data.labels, THRESHOLDS, data.weights)
    for column, (scores, labels) in enumerate(data.resamples()):
        for row, threshold in enumerate(THRESHOLDS):
            flagged = (scores >= threshold).astype(float)
            expected = confusion_matrix(labels, flagged, labels=[0.0, 1.0]).ravel()
            ours = [part[row, column] for part in counts]
            assert [ours[2], ours[1], ours[3], ours[0]] == expected.tolist()
            rates = [
                recall_score(labels, flagged, zero_division=np.nan),
                recall_score(1 - labels, 1 - flagged, zero_division=np.nan),
                precision_score(labels, flagged, zero_division=np.nan),
                precision_score(1 - labels, 1 - flagged, zero_division=np.nan),
                flagged.mean(),
            ]
            ours = [
                getattr(counts, name)[row, column] for name in ("sensitivity", "specificity", "ppv", "npv", "flagged")
            ]
            np.testing.assert_allclose(ours, rates, atol=1e-12)


def test_rates_without_studies_in_the_denominator_are_nan() -> None:
    counts = weighted_confusion(np.array([1.0, 2.0]), np.array([0.0, 0.0]), np.array([3.0]), np.array([[1, 1], [0, 0]]))
    np.testing.assert_array_equal(counts.sensitivity, [[np.nan, np.nan]])
    np.testing.assert_array_equal(counts.ppv, [[np.nan, np.nan]])
    np.testing.assert_array_equal(counts.specificity, [[1.0, np.nan]])
    np.testing.assert_array_equal(counts.flagged, [[0.0, np.nan]])


def test_refuses_a_threshold_that_is_nan() -> None:
    with pytest.raises(ValueError, match="threshold that is NaN"):
        weighted_confusion(np.array([1.0]), np.array([0.0]), np.array([0.0, np.nan]), np.ones((1, 1), dtype=int))
