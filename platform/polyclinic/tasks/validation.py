"""Predictions and diagnostics of a validation epoch, gathered over ranks."""

from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from polyclinic.distributed import rows_without_gradient
from polyclinic.nn.targets import Targets
from polyclinic.objectives import EmbeddingBatch, gather_embeddings
from polyclinic.objectives.functional import alignment, effective_rank, modality_gap, uniformity


class Monitor(NamedTuple):
    """A validation metric that chooses the best weights, and whether smaller or larger values are better."""

    metric: str
    mode: Literal["min", "max"]


class Predictions:
    """Collects the outputs and labels of a validation epoch."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, outputs: Float[Tensor, "B K"], labels: Float[Tensor, "B C"]) -> None:
        """Collect a batch, without its graph."""
        self._outputs.append(outputs.detach().float())
        self._labels.append(labels)

    def take(self, outputs: int, labels: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the outputs [N, K] and labels [N, C] of the studies of all ranks, and start a new epoch.

        Args:
            outputs: number of outputs K, as a rank may have no batch.
            labels: number of labels C.
            device: device of the task.
        """
        found = (
            rows_without_gradient(torch.cat([torch.zeros(0, width, device=device), *parts]))
            for width, parts in ((outputs, self._outputs), (labels, self._labels))
        )
        together = (next(found), next(found))
        self._outputs, self._labels = [], []
        return together


def measure(targets: Targets, outputs: Float[Tensor, "N K"], labels: Float[Tensor, "N C"]) -> dict[str, float]:
    """Return the loss, and the mean AUROC of the findings with both classes."""
    metrics = {"loss": mean_loss(targets, outputs, labels)}
    scores = targets.predictions(outputs)[:, targets.finding_outputs].cpu().numpy()
    truth = labels[:, targets.findings].cpu().numpy()
    aurocs = [_auroc(score, label) for score, label in zip(scores.T, truth.T, strict=True)]
    if defined := [value for value in aurocs if value == value]:
        metrics["auroc"] = float(np.mean(defined))
    return metrics


def mean_loss(targets: Targets, outputs: Float[Tensor, "N K"], labels: Float[Tensor, "N C"]) -> float:
    """Return the mean loss of the known labels; 0 without any."""
    loss = targets.loss(outputs, labels)
    return float(loss.total / loss.terms.clamp_min(1))


def _auroc(scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"]) -> float:
    known = ~np.isnan(labels)
    if len(set(labels[known])) < 2:
        return float("nan")
    return float(roc_auc_score(labels[known], scores[known]))


MAX_STUDIES = 2048
"""Studies per rank to measure, as the diagnostics need the distances between all pairs of them."""


class Diagnostics:
    """Collects the first studies of a validation epoch, and measures them at its end.

    Attributes:
        latest: this rank's first batch of the latest validation, for a plot; None before the first validation.
    """

    def __init__(self) -> None:
        self.latest: EmbeddingBatch | None = None
        self._parts: list[EmbeddingBatch] = []

    def add(self, studies: EmbeddingBatch) -> None:
        """Collect a batch, without its graph."""
        if sum(map(len, self._parts)) < MAX_STUDIES:
            self._parts.append(studies)

    def take(self) -> EmbeddingBatch:
        """Return the collected studies of all ranks, and start a new epoch."""
        parts, self._parts = self._parts, []
        first = parts[0]
        self.latest = first
        studies = EmbeddingBatch(
            embeddings={name: torch.cat([part.embeddings[name] for part in parts]) for name in first.embeddings},
            present={name: torch.cat([part.present[name] for part in parts]) for name in first.present},
            groups=None
            if first.groups is None
            else torch.cat([part.groups for part in parts if part.groups is not None]),
        )
        return gather_embeddings(studies)

    @staticmethod
    def measure(studies: EmbeddingBatch) -> dict[str, float]:
        """Return uniformity and effective rank by modality, and gap and alignment by pair, over two studies or more."""
        diagnostics: dict[str, float] = {}
        for name in studies.embeddings:
            (value,) = studies.only([name]).complete().embeddings.values()
            if len(value) >= 2:
                diagnostics |= {
                    f"uniformity/{name}": float(uniformity(value)),
                    f"effective_rank/{name}": float(effective_rank(value)),
                }
        for first, second in combinations(studies.embeddings, 2):
            both = studies.only([first, second]).complete()
            if len(both) >= 2:
                x, y = both.embeddings.values()
                diagnostics |= {
                    f"modality_gap/{first}-{second}": float(modality_gap(x, y)),
                    f"alignment/{first}-{second}": float(alignment(x, y)),
                }
        return diagnostics
