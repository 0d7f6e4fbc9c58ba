"""Contrast within a modality: views of one study, or studies of one group, belong together (Khosla et al. 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Groups, same_group
from polyclinic.objectives.functional import l2
from polyclinic.objectives.term import Term


class IntraModal(Term):
    """``-1/n sum_i 1/|P_i| sum_{p in P_i} log softmax_{j != i}(s x_i x_j)_p`` per modality (equation 2).

    ``P_i`` are the other rows of i's group: with ``data.views: 2`` the second view of the same study, and then this
    is NT-Xent (Chen et al. 2020, equation 1). Rows that stand alone are negatives only. Averaged over modalities.

    Args:
        weight: beside the objective.
        scale: of the cosines, fixed; 10 as in the papers.

    Raises:
        ValueError: ``weight`` or ``scale`` is not positive.
    """

    def __init__(self, *, weight: float = 1.0, scale: float = 10.0) -> None:
        super().__init__(weight=weight)
        if not scale > 0:
            raise ValueError(f"got scale {scale}, expected a positive number; set `scale`")
        self.factor = scale

    def forward(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """Mean over modalities in which some row has another of its group."""
        losses = []
        if studies.groups is not None:
            for name in studies.embeddings:
                rows = studies.only([name]).complete()
                assert rows.groups is not None
                if bool(same_group(rows.groups).any()):
                    losses.append(self._one(l2(rows.embeddings[name]), rows.groups))
        return sum(losses, start=studies.zero_loss()) / max(len(losses), 1)

    def _one(self, x: Float[Tensor, "n d"], groups: Groups) -> Float[Tensor, ""]:
        own = torch.eye(len(x), dtype=torch.bool, device=x.device)
        log_share = (self.factor * x @ x.T).masked_fill(own, -torch.inf).log_softmax(dim=1)
        positive = same_group(groups)
        mates = positive.sum(dim=1)
        total = log_share.masked_fill(~positive, 0.0).sum(dim=1)
        return -(total[mates > 0] / mates[mates > 0]).mean()
