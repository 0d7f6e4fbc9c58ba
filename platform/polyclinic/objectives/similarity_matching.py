"""Similarity distribution matching (Jiang and Ye 2023, "IRRA", equations 4 to 6)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import Groups
from polyclinic.objectives.pairwise import PairwiseObjective

_EPSILON = 1e-8


class SimilarityMatching(PairwiseObjective):
    """``sum over both directions of 1/n sum_ij p_ij log(p_ij / (q_ij + eps))``, with p the softmax of scaled cosines.

    ``q`` is uniform over the studies of a row's group: all studies of one patient, or with one finding, are equal
    positives. Without groups, the only positive of a study is itself.

    Args:
        weights: weights by pair, such as ``{"xray+report": 1.0}``; all pairs equally when unset.
        initial_scale: initial factor on the cosines; 50 as in the paper, where it is fixed.
        max_scale: upper bound of a learned scale.
        learnable_scale: whether the scale is trained.
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        initial_scale: float = 50.0,
        max_scale: float = 100.0,
        learnable_scale: bool = False,
    ) -> None:
        super().__init__(
            weights=weights, initial_scale=initial_scale, max_scale=max_scale, learnable_scale=learnable_scale
        )

    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        numbers = torch.arange(len(x), device=x.device) if groups is None else groups
        match = (numbers[:, None] == numbers).to(x.dtype)
        target = torch.log(match / match.sum(dim=1, keepdim=True) + _EPSILON)
        logits = self.scale() * x @ y.T
        return _divergence(logits, target) + _divergence(logits.T, target)


def _divergence(logits: Float[Tensor, "n n"], log_target: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    log_share = F.log_softmax(logits, dim=1)
    return (log_share.exp() * (log_share - log_target)).sum(dim=1).mean()
