"""The base class of objectives over pairs of modalities, which score by the mean cosine."""

from abc import abstractmethod
from collections.abc import Mapping
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Groups, Present
from polyclinic.objectives.functional import Scale, l2
from polyclinic.objectives.objective import Objective

PAIR_SEPARATOR = "+"


class PairwiseObjective(Objective):
    """A weighted mean over pairs of modalities, each over the studies that have both.

    Args:
        weights: weights by pair, such as ``{"xray+report": 1.0}``, in any order; pairs that are not listed are not
            contrasted. All pairs equally when unset.
        initial_scale: initial factor on the cosines.
        max_scale: upper bound of the learned scale.
        learnable_scale: whether the scale is trained.

    Raises:
        ValueError: a pair is not two modalities, a weight is not positive, or the initial scale is out of range.
    """

    neutral = 0.0

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None,
        initial_scale: float,
        max_scale: float,
        learnable_scale: bool,
    ) -> None:
        super().__init__()
        self.weights = None if weights is None else dict(_pair_weight(pair, weights[pair]) for pair in weights)
        self.referenced_modalities = frozenset().union(*(self.weights or ()))
        self.scale = Scale(initial=initial_scale, largest=max_scale, learnable=learnable_scale)

    @abstractmethod
    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        """Return the loss of a pair, over the unit vectors of the studies that have both modalities (two or more)."""

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        total, weight = studies.zero_loss() + 0.0 * self.scale(), 0.0
        for pair, pair_weight in self._pairs(studies):
            both = studies.only(pair).complete()
            if len(both) >= 2:
                x, y = (l2(both.embeddings[name]) for name in pair)
                total = total + pair_weight * self._pair_loss(x, y, both.groups, pair)
                weight += pair_weight
        return total / max(weight, torch.finfo(total.dtype).tiny)

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """Return the scaled cosine, averaged over the query modalities that a study has."""
        total = candidates.new_zeros(len(next(iter(query.values()))), len(candidates))
        count = candidates.new_zeros(len(total), 1)
        for name, value in query.items():
            rows = torch.ones_like(count) if present is None else present[name].to(count)[:, None]
            total = total + rows * (l2(value) @ l2(candidates).T)
            count = count + rows
        return self.scale() * total / count.clamp_min(1.0)

    def negatives(self, studies: EmbeddingBatch) -> float:
        """Return the mean number of other studies per anchor, without those of its group, over contrasted pairs."""
        counts = []
        for pair, _ in self._pairs(studies):
            both = studies.only(pair).complete()
            if len(both) >= 2:
                counts.append(len(both) - 1 - float(both.mates().double().mean()))
        return sum(counts) / max(len(counts), 1)

    def _pairs(self, studies: EmbeddingBatch) -> list[tuple[tuple[str, str], float]]:
        pairs = combinations(studies.embeddings, 2)
        if self.weights is None:
            return [(pair, 1.0) for pair in pairs]
        return [(pair, self.weights[frozenset(pair)]) for pair in pairs if frozenset(pair) in self.weights]


def _pair_weight(pair: str, weight: float) -> tuple[frozenset[str], float]:
    names = frozenset(name.strip() for name in pair.split(PAIR_SEPARATOR))
    if len(names) != 2 or "" in names or not weight > 0:
        raise ValueError(
            f"got weight {weight} for pair {pair!r}, expected a positive number for two modalities joined by "
            f"{PAIR_SEPARATOR!r}; set `objective.weights`, such as {{xray+report: 1.0}}"
        )
    return names, weight
