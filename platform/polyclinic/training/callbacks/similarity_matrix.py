"""The picture of a contrastive run: which modality finds the studies of which."""

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

_SHOWN = 32
_FEWEST = 2


class SimilarityMatrixImage(Callback):
    """Logs ``similarity.png`` at the end of a contrastive fit: validation studies against each other, as trained.

    It draws what the latest validation has embedded, on rank zero and from its studies alone, so that it costs no
    pass through the model.
    """

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget what an untrained model made."""
        if isinstance(pl_module, ContrastivePretraining):
            pl_module.diagnostics.latest = None

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, where there was a validation."""
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
    """Scores of the first 32 studies that have what it takes, by pair of modalities, and of each by all others.

    Args:
        objective: scores.
        studies: of a batch.

    Returns:
        By query and candidate modality the scores of each pair; then, of three modalities or more, by candidate
        modality those of all others together. What fewer than two studies have is left out.
    """
    names, present = list(studies.embeddings), studies.present
    pairs, joint = {}, {}
    for candidate, query in combinations(names, 2):
        rows = _first(present[candidate] & present[query])
        if len(rows) >= _FEWEST:
            pairs[query, candidate] = _scores(objective, studies, [query], candidate, rows)
    for name in names if len(names) > _FEWEST else []:
        others = [other for other in names if other != name]
        rows = _first(present[name] & torch.stack([present[other] for other in others]).any(dim=0))
        if len(rows) >= _FEWEST:
            joint[name] = _scores(objective, studies, others, name, rows)
    return pairs, joint


def _first(there: Bool[Tensor, " N"]) -> Tensor:
    return there.nonzero()[:_SHOWN, 0]


def _scores(
    objective: Objective, studies: EmbeddingBatch, query: list[str], candidate: str, rows: Tensor
) -> Float[np.ndarray, "M M"]:
    chosen = {name: studies.embeddings[name][rows] for name in query}
    present = {name: studies.present[name][rows] for name in query}
    scores = objective.score(chosen, studies.embeddings[candidate][rows], present)
    return scores.double().cpu().numpy()
