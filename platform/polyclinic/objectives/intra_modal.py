"""Contrast within a modality, with the views or studies of one group as positives (Khosla et al. 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Groups, same_group
from polyclinic.objectives.functional import l2
from polyclinic.objectives.term import Term


class IntraModal(Term):
    """``-1/n sum_i 1/|P_i| sum_{p in P_i} log softmax_{j != i}(s x_i x_j)_p`` per modality (equation 2).

    ``P_i`` are the other rows of i's group. With ``data.views: 2`` that is the second view of the study, and the loss
    is NT-Xent (Chen et al. 2020, equation 1). Rows without another in their group are negatives only. The term is the
    mean over modalities.

    Args:
        weight: weight relative to the objective.
        scale: fixed factor on the cosines; 10 as in the papers.

    Raises:
        ValueError: ``weight`` or ``scale`` is not positive.
    """

    def __init__(self, *, weight: float = 1.0, scale: float = 10.0) -> None:
        super().__init__(weight=weight)
        if not scale > 0:
            raise ValueError(f"got scale {scale}, expected a positive number; set `scale`")
        self.factor = scale

    def forward(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """Average over the modalities in which a group has two rows or more."""
        losses = []
        if studies.groups is not None:
            for name in studies.embeddings:
                rows = studies.only([name]).complete()
                assert rows.groups is not None
                if bool(same_group(rows.groups).any()):
                    losses.append(self._modality_loss(l2(rows.embeddings[name]), rows.groups))
        return sum(losses, start=studies.zero_loss()) / max(len(losses), 1)

    def _modality_loss(self, x: Float[Tensor, "n d"], groups: Groups) -> Float[Tensor, ""]:
        diagonal = torch.eye(len(x), dtype=torch.bool, device=x.device)
        log_share = (self.factor * x @ x.T).masked_fill(diagonal, -torch.inf).log_softmax(dim=1)
        positive = same_group(groups)
        mates = positive.sum(dim=1)
        total = log_share.masked_fill(~positive, 0.0).sum(dim=1)
        return -(total[mates > 0] / mates[mates > 0]).mean()
