"""Outputs of a validation epoch, from all ranks, measured together."""

import numpy as np
import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from polyclinic.distributed import rows_without_gradient
from polyclinic.tasks.targets import Targets


class Predictions:
    """Collects the outputs and labels of a validation epoch."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, outputs: Float[Tensor, "B K"], labels: Float[Tensor, "B C"]) -> None:
        """Keep a batch, without its graph."""
        self._outputs.append(outputs.detach().float())
        self._labels.append(labels)

    def measure(self, targets: Targets) -> dict[str, float]:
        """Loss, and the mean AUROC of the findings of which both classes are there; the next epoch starts anew."""
        none = (
            torch.zeros(0, count, device=targets.center.device) for count in (targets.outputs, len(targets.targets))
        )
        outputs, labels = (
            rows_without_gradient(torch.cat([empty, *parts]))
            for empty, parts in zip(none, (self._outputs, self._labels), strict=True)
        )
        self._outputs, self._labels = [], []
        loss = targets.loss(outputs, labels)
        told = {"loss": float(loss.total / loss.terms.clamp_min(1))}
        scores = targets.readings(outputs)[:, targets.finding_outputs].cpu().numpy()
        truth = labels[:, targets.findings].cpu().numpy()
        aurocs = [_auroc(score, label) for score, label in zip(scores.T, truth.T, strict=True)]
        if defined := [value for value in aurocs if value == value]:
            told["auroc"] = float(np.mean(defined))
        return told


def _auroc(scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"]) -> float:
    known = ~np.isnan(labels)
    if len(set(labels[known])) < 2:
        return float("nan")
    return float(roc_auc_score(labels[known], scores[known]))
