"""Continuously weighted contrast with a frozen teacher (Srinivasa et al. 2023, "CWCL", equations 3 and 4)."""

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import Groups, same_group
from polyclinic.objectives.functional import info_nce
from polyclinic.objectives.pairwise import PairwiseObjective


class Cwcl(PairwiseObjective):
    """``-1/n sum_i 1/W_i sum_j w_ij log softmax_j(s p_i q_j)`` with ``w_ij = (1 + q_i q_j) / 2``.

    Studies are positives of each other to the degree that their teacher embeddings are similar: a second pneumonia is
    not as wrong as a fracture. The other direction is InfoNCE, and the two are averaged. Pairs without the teacher use
    symmetric InfoNCE.

    Args:
        teacher: modality whose embeddings ``q`` define the weights, which get no gradient.
        weights: weights by pair, such as ``{"xray+report": 1.0}``; all pairs equally when unset.
        initial_scale: initial factor on the cosines.
        max_scale: upper bound of the learned scale.
        learnable_scale: whether the scale is trained.
    """

    def __init__(
        self,
        *,
        teacher: str,
        weights: Mapping[str, float] | None = None,
        initial_scale: float = 1 / 0.07,
        max_scale: float = 100.0,
        learnable_scale: bool = True,
    ) -> None:
        super().__init__(
            weights=weights, initial_scale=initial_scale, max_scale=max_scale, learnable_scale=learnable_scale
        )
        self.teacher = teacher
        self.referenced_modalities |= {teacher}

    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        if self.teacher not in pair:
            return info_nce(self.scale() * x @ y.T, groups)
        student, teacher = (x, y) if pair[1] == self.teacher else (y, x)
        return _weighted_loss(self.scale() * student @ teacher.T, teacher.detach(), groups)


def _weighted_loss(
    logits: Float[Tensor, "n n"], teacher: Float[Tensor, "n d"], groups: Groups | None
) -> Float[Tensor, ""]:
    weight = (1 + teacher @ teacher.T) / 2
    if groups is not None:
        mask = same_group(groups)
        # Finite, because a weight of 0 times a log-softmax of -inf is NaN.
        weight, logits = weight.masked_fill(mask, 0.0), logits.masked_fill(mask, -1e9)
    weighted = -(weight * F.log_softmax(logits, dim=1)).sum(dim=1) / weight.sum(dim=1)
    reverse = -F.log_softmax(logits, dim=0).diagonal()
    return (weighted.mean() + reverse.mean()) / 2
