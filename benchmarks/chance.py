"""Rate at which random scores with few positives get an AUROC interval above chance, at a nominal 2.5 %."""

import numpy as np

from benchmarks.measure import Figure
from polyclinic.evaluation.metrics.score_intervals import estimate_auroc
from polyclinic.export.calibrate import CHANCE

COMMAND = "python -m benchmarks chance"
VALIDATIONS = ((18, 1), (18, 2), (200, 1), (200, 2), (200, 5), (200, 20))
"""Pairs of the number of studies and of those with the finding."""

DRAWS = 5_000


def measure() -> list[Figure]:
    """Measure the share of random scores with an AUROC interval above one half, for each split and the worst one."""
    rng = np.random.default_rng(0)
    rates = {split: _false_rate(*split, rng) for split in VALIDATIONS}
    figures = [
        Figure(name=f"chance.false_rate_{positives}_of_{studies}", value=rate, unit="", command=COMMAND)
        for (studies, positives), rate in rates.items()
    ]
    worst = max(rates.values())
    return [
        Figure(name="chance.false_rate", value=worst, unit="", command=COMMAND, goal=0.035, at_most=True),
        *figures,
    ]


def _false_rate(studies: int, positives: int, rng: np.random.Generator) -> float:
    labels, patients = (np.arange(studies) < positives).astype(np.float64), np.arange(studies)
    passed = sum(
        estimate_auroc(scores, labels, patients).ci95.low > CHANCE for scores in rng.normal(size=(DRAWS, studies))
    )
    return passed / DRAWS
