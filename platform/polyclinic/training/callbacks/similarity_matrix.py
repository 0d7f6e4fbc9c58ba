"""Picture of a contrastive run: similarities of studies for each pair of modalities."""

from itertools import combinations

import lightning.pytorch as L
import numpy as np
import torch
from jaxtyping import Bool, Float
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from polyclinic.objectives import EmbeddingBatch, Objective
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tracking import log_figure, similarity_grid

_MAX_STUDIES = 32
_MIN_STUDIES = 2
_MIN_JOINT_MODALITIES = 3


class SimilarityMatrixImage(Callback):
    """Logs ``similarity.png`` at the end of a contrastive fit: the scores of validation studies against each other.

    It uses the embeddings of the latest validation on rank zero, so that it needs no forward pass.
    """

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Discard the embeddings of the untrained model."""
        if isinstance(pl_module, ContrastivePretraining):
            pl_module.diagnostics.latest = None

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw and log the picture if there was a validation."""
        if not trainer.is_global_zero or not isinstance(pl_module, ContrastivePretraining):
            return
        studies = pl_module.diagnostics.latest
        if studies is None:
            return
        pairs, joint = similarities(pl_module.objective, studies)
        if pairs:
            log_figure(trainer.logger, similarity_grid(pairs, joint), "similarity.png")


@torch.no_grad()
def similarities(
    objective: Objective, studies: EmbeddingBatch
) -> tuple[dict[tuple[str, str], Float[np.ndarray, "_ _"]], dict[str, Float[np.ndarray, "_ _"]]]:
    """Score the first 32 complete studies by each pair of modalities, and by each modality against all others.

    Args:
        objective: objective that scores.
        studies: embeddings of a batch.

    Returns:
        Scores by query and candidate modality; and, with three modalities or more, scores of all others together by
        candidate modality. Entries with fewer than two studies are left out.
    """
    names, present = list(studies.embeddings), studies.present
    pairs, joint = {}, {}
    for candidate, query in combinations(names, 2):
        rows = _first(present[candidate] & present[query])
        if len(rows) >= _MIN_STUDIES:
            pairs[query, candidate] = _scores(objective, studies, [query], candidate, rows)
    for name in names if len(names) >= _MIN_JOINT_MODALITIES else []:
        others = [other for other in names if other != name]
        rows = _first(present[name] & torch.stack([present[other] for other in others]).any(dim=0))
        if len(rows) >= _MIN_STUDIES:
            joint[name] = _scores(objective, studies, others, name, rows)
    return pairs, joint


def _first(mask: Bool[Tensor, " N"]) -> Tensor:
    return mask.nonzero()[:_MAX_STUDIES, 0]


def _scores(
    objective: Objective, studies: EmbeddingBatch, query: list[str], candidate: str, rows: Tensor
) -> Float[np.ndarray, "M M"]:
    chosen = {name: studies.embeddings[name][rows] for name in query}
    present = {name: studies.present[name][rows] for name in query}
    scores = objective.score(chosen, studies.embeddings[candidate][rows], present)
    return scores.double().cpu().numpy()
