"""Made-up studies, one to three per patient, with ties and unknown labels, for tests of the evaluation."""

from typing import NamedTuple

import numpy as np

from polyclinic.evaluation import patient_resamples


class Planted(NamedTuple):
    scores: np.ndarray
    labels: np.ndarray
    patient_ids: list[str]
    weights: np.ndarray

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and labels of the studies whose label is known."""
        rows = ~np.isnan(self.labels)
        return self.scores[rows], self.labels[rows]

    def resamples(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return scores and labels of each resample, each study repeated by its weight."""
        rows = ~np.isnan(self.labels)
        scores, labels = self.known()
        return [(np.repeat(scores, row[rows]), np.repeat(labels, row[rows])) for row in self.weights]


def planted(seed: int, *, patients: int = 60, share: float = 0.5, resamples: int = 40, unknown: float = 0.1) -> Planted:
    rng = np.random.default_rng(seed)
    ids = [f"p{patient}" for patient in range(patients) for _ in range(rng.integers(1, 4))]
    labels = (rng.random(len(ids)) < share).astype(float)
    scores = np.round(rng.normal(2 * labels - 1, 1.5), 1)
    labels[rng.random(len(ids)) < unknown] = np.nan
    return Planted(scores, labels, ids, patient_resamples(ids, resamples, seed))


def wilson(hits: np.ndarray, ids: list[str]) -> tuple[float, float]:
    """Compute Wilson's 95 % interval in closed form, with the studies divided by the design effect over patients."""
    studies, mean, z2 = len(hits), float(np.mean(hits)), 1.959963984540054**2
    sums = {
        patient_id: sum(h - mean for h, patient in zip(hits, ids, strict=True) if patient == patient_id)
        for patient_id in set(ids)
    }
    full = sum(ids.count(patient_id) ** 2 for patient_id in set(ids)) / studies
    spread = sum((h - mean) ** 2 for h in hits)
    n = studies / (min(max(sum(patient_id**2 for patient_id in sums.values()) / spread, 1.0), full) if spread else full)
    centre, reach = mean + z2 / (2 * n), np.sqrt(z2 * (mean * (1 - mean) / n + z2 / (4 * n**2)))
    return (centre - reach) / (1 + z2 / n), (centre + reach) / (1 + z2 / n)
