"""Mixup-based contrast (Kumar et al. 2024, "M3CoL", equations 1 to 5)."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Groups, same_group
from polyclinic.objectives.functional import info_nce, l2
from polyclinic.objectives.pairwise import PairwiseObjective


class MixupContrast(PairwiseObjective):
    """Contrast in which a mixture of two studies in one modality has both as positives in the other.

    With ``m_i = u_i x_i + (1 - u_i) x_p(i)``, ``u ~ Beta(alpha, alpha)`` and a permutation p, the loss is the
    cross-entropy of ``softmax_j(s m_i y_j)`` with a target of ``u_i`` on i and ``1 - u_i`` on p(i), averaged with
    the same loss for mixtures of y. Steps without mixing, and evaluation, use symmetric InfoNCE. After ``soft_after``
    steps the targets are soft: ``softmax_j(s (x_i x_j + y_i y_j) / 2)``, without gradient, for the rows and columns
    of ``s x y``. The loss uses every pair of modalities and the paper uses a cycle of them, which is the same for up
    to three modalities.

    Args:
        alpha: parameter of the Beta distribution; 0.15 as in the paper.
        share: share of the steps that mix; 0.5 as in the paper.
        soft_after: training steps after which targets are soft; never when unset. The paper uses a third of all steps.
        soft_scale: factor on the cosines with soft targets; 8 (1/0.125) as in the paper.
        weights: weights by pair, such as ``{"xray+report": 1.0}``; all pairs equally when unset.
        initial_scale: initial factor on the cosines; 10 (1/0.1) as in the paper, where it is fixed.
        max_scale: upper bound of a learned scale.
        learnable_scale: whether the scale is trained.

    Raises:
        ValueError: ``alpha`` or ``soft_scale`` is not positive, or ``share`` is outside [0, 1].
    """

    draws: Tensor

    def __init__(
        self,
        *,
        alpha: float = 0.15,
        share: float = 0.5,
        soft_after: int | None = None,
        soft_scale: float = 8.0,
        weights: Mapping[str, float] | None = None,
        initial_scale: float = 10.0,
        max_scale: float = 100.0,
        learnable_scale: bool = False,
    ) -> None:
        super().__init__(
            weights=weights, initial_scale=initial_scale, max_scale=max_scale, learnable_scale=learnable_scale
        )
        if not (alpha > 0 and soft_scale > 0 and 0 <= share <= 1):
            raise ValueError(
                f"got alpha {alpha}, soft_scale {soft_scale} and share {share}; expected alpha and soft_scale above 0 "
                "and share from 0 to 1; set them in `objective`"
            )
        self.alpha, self.share, self.soft_after, self.soft_scale = alpha, share, soft_after, soft_scale
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        loss = super()._loss(studies)
        if self.training:
            self.draws += 1
        return loss

    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        if self.soft_after is not None and int(self.draws) >= self.soft_after:
            return self._soft_loss(x, y)
        rng = np.random.default_rng([int(self.draws), *"+".join(pair).encode()])
        if not self.training or rng.random() >= self.share:
            return info_nce(self.scale() * x @ y.T, groups)
        return (self._mixed_loss(x, y, groups, rng) + self._mixed_loss(y, x, groups, rng)) / 2

    def _mixed_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, rng: np.random.Generator
    ) -> Float[Tensor, ""]:
        partner = torch.as_tensor(rng.permutation(len(x)), device=x.device)
        share = torch.as_tensor(rng.beta(self.alpha, self.alpha, size=(len(x), 1)), dtype=x.dtype, device=x.device)
        target = share * torch.eye(len(x), dtype=x.dtype, device=x.device)
        target = target.scatter_add(1, partner[:, None], 1 - share)
        logits = self.scale() * l2(share * x + (1 - share) * x[partner]) @ y.T
        if groups is not None:
            # Finite, because a target of 0 times a log-softmax of -inf is NaN.
            logits = logits.masked_fill(same_group(groups) & (target == 0), -1e9)
        return F.cross_entropy(logits, target)

    def _soft_loss(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        target = (self.soft_scale * (x @ x.T + y @ y.T) / 2).detach().softmax(dim=1)
        logits = self.soft_scale * x @ y.T
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
