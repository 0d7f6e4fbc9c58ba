"""The sigmoid loss over pairs (Zhai et al. 2023, "Sigmoid loss for language image pre-training", algorithm 1)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import Groups, same_group
from polyclinic.objectives.pairwise import PairwiseObjective


class Siglip(PairwiseObjective):
    """``-1/n sum_ij log sigmoid(t_ij (s x_i y_j + b))`` with ``t_ij`` 1 for ``i = j`` and -1 otherwise.

    Each pair is a binary classification, so that no softmax couples the batch. The initial bias predicts that a pair
    is negative, as most are. It is equal for all candidates, and ``score`` omits it.

    Args:
        weights: weights by pair, such as ``{"xray+report": 1.0}``; all pairs equally when unset.
        initial_scale: initial factor on the cosines; 10 as in the paper.
        initial_bias: initial bias of the logits; -10 as in the paper.
        max_scale: upper bound of the learned scale.
        learnable_scale: whether scale and bias are trained.
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        initial_scale: float = 10.0,
        initial_bias: float = -10.0,
        max_scale: float = 100.0,
        learnable_scale: bool = True,
    ) -> None:
        super().__init__(
            weights=weights, initial_scale=initial_scale, max_scale=max_scale, learnable_scale=learnable_scale
        )
        self.bias = nn.Parameter(torch.tensor(initial_bias), requires_grad=learnable_scale)

    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        logits = self.scale() * x @ y.T + self.bias
        sign = 2 * torch.eye(len(x), dtype=x.dtype, device=x.device) - 1
        losses = -F.logsigmoid(sign * logits)
        if groups is not None:
            losses = losses.masked_fill(same_group(groups), 0.0)
        return losses.sum() / len(x)
