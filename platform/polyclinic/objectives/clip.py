"""Pairwise InfoNCE over all pairs of modalities (Radford et al. 2021, figure 3; Oord et al. 2018, equation 4)."""

from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.normalize import l2
from polyclinic.objectives.objective import (
    Embeddings,
    Objective,
    Present,
    check_embeddings,
    complete_rows,
    zero_loss,
)
from polyclinic.objectives.scale import Scale


class Clip(Objective):
    """Symmetric InfoNCE of cosine similarities, averaged over pairs of modalities.

    Args:
        initial_scale: of the cosines; 1/0.07 as in the paper.
        max_scale: upper bound of the learned scale; 100 as in the paper.
        learnable_scale: whether the scale is trained.
    """

    neutral = 0.0

    def __init__(
        self, *, initial_scale: float = 1 / 0.07, max_scale: float = 100.0, learnable_scale: bool = True
    ) -> None:
        super().__init__()
        self.scale = Scale(initial=initial_scale, largest=max_scale, learnable=learnable_scale)

    def forward(self, embeddings: Embeddings, present: Present | None = None) -> Float[Tensor, ""]:
        """Mean over the pairs that at least two studies have; each pair uses the studies that have both."""
        check_embeddings(embeddings)
        losses = []
        for pair in combinations(embeddings, 2):
            chosen = {name: embeddings[name] for name in pair}
            rows = complete_rows(chosen, present)
            if int(rows.sum()) >= 2:
                losses.append(self._pair_loss(*(l2(value[rows]) for value in chosen.values())))
        return torch.stack([zero_loss(embeddings, self.scale()), *losses]).sum() / max(len(losses), 1)

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """The mean scaled cosine over the query modalities that a study has."""
        total = candidates.new_zeros(len(next(iter(query.values()))), len(candidates))
        count = candidates.new_zeros(len(total), 1)
        for name, value in query.items():
            rows = torch.ones_like(count) if present is None else present[name].to(count)[:, None]
            total = total + rows * (l2(value) @ l2(candidates).T)
            count = count + rows
        return self.scale() * total / count.clamp_min(1.0)

    def _pair_loss(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        logits = self.scale() * x @ y.T
        target = torch.arange(len(x), device=x.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
