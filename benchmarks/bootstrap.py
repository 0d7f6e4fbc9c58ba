"""Speed of bootstrapped AUROC intervals over patients, compared with the bootstrap of torchmetrics over studies."""

import time

import numpy as np
import torch
from torchmetrics.classification import MultilabelAUROC
from torchmetrics.wrappers import BootStrapper

from benchmarks.measure import Figure
from polyclinic.evaluation import patient_resamples, percentile_interval, weighted_auroc

COMMAND = "python -m benchmarks bootstrap"
STUDIES, FINDINGS, RESAMPLES = 10_000, 14, 1000
THEIR_RESAMPLES = 20
"""Resamples of torchmetrics, whose time is scaled from these, as it is proportional to their number."""


def measure() -> list[Figure]:
    """Time both bootstraps in turn on the same scores in one thread; ours includes drawing the resamples."""
    rng = np.random.default_rng(0)
    labels = (rng.random((STUDIES, FINDINGS)) < np.linspace(0.02, 0.5, FINDINGS)).astype(np.float64)
    scores = rng.normal(labels)
    patients = [str(patient) for patient in rng.integers(0, STUDIES // 2, STUDIES)]
    ours = min(_ours(scores, labels, patients) for _ in range(3))
    threads = torch.get_num_threads()
    # Under other load, one thread is faster for torchmetrics too, because two threads wait for each other.
    torch.set_num_threads(1)
    theirs = min(_theirs(scores, labels) for _ in range(3)) * RESAMPLES / THEIR_RESAMPLES
    torch.set_num_threads(threads)
    return [
        Figure(name="bootstrap.seconds_10k_14_1000", value=ours, unit="s", goal=3.0, at_most=True, command=COMMAND),
        Figure(name="bootstrap.speedup_vs_torchmetrics", value=theirs / ours, unit="times", goal=10.0, command=COMMAND),
    ]


def _ours(scores: np.ndarray, labels: np.ndarray, patients: list[str]) -> float:
    started = time.perf_counter()
    weights = patient_resamples(patients, RESAMPLES, 0)
    for score, label in zip(scores.T, labels.T, strict=True):
        percentile_interval(weighted_auroc(score, label, weights))
    return time.perf_counter() - started


def _theirs(scores: np.ndarray, labels: np.ndarray) -> float:
    """Time torchmetrics, which can resample only studies and returns only the interval of the mean over findings."""
    metric = BootStrapper(
        MultilabelAUROC(num_labels=FINDINGS, validate_args=False), num_bootstraps=THEIR_RESAMPLES,
        quantile=torch.tensor([0.025, 0.975]),
    )  # fmt: skip
    # torchmetrics would apply a sigmoid to scores outside [0, 1].
    chances = torch.tensor(scores, dtype=torch.float32).sigmoid()
    truth = torch.tensor(labels, dtype=torch.long)
    started = time.perf_counter()
    metric.update(chances, truth)
    metric.compute()
    return time.perf_counter() - started
