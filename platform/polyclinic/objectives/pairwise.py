"""What the objectives over pairs of modalities share: which pairs, and the mean cosine as score."""

from abc import abstractmethod
from collections.abc import Mapping
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Groups, Present
from polyclinic.objectives.functional import Scale, l2
from polyclinic.objectives.objective import Objective

_JOINT = "+"


class PairwiseObjective(Objective):
    """A weighted mean over pairs of modalities, each over the studies that have both.

    Args:
        weights: by pair, such as ``{"xray+report": 1.0}``, in either order; pairs that are not named are not
            contrasted. All pairs alike when absent.
        initial_scale: of the cosines.
        max_scale: upper bound of the learned scale.
        learnable_scale: whether the scale is trained.

    Raises:
        ValueError: a pair that does not name two modalities, a weight that is not positive, or scales out of order.
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
        self.named = frozenset().union(*(self.weights or ()))
        self.scale = Scale(initial=initial_scale, largest=max_scale, learnable=learnable_scale)

    @abstractmethod
    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        """The loss of one pair over unit vectors of the studies that have both, at least two."""

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        total, weight = studies.zero_loss() + 0.0 * self.scale(), 0.0
        for pair, own_weight in self._pairs(studies):
            both = studies.only(pair).complete()
            if len(both) >= 2:
                x, y = (l2(both.embeddings[name]) for name in pair)
                total = total + own_weight * self._pair_loss(x, y, both.groups, pair)
                weight += own_weight
        return total / max(weight, torch.finfo(total.dtype).tiny)

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

    def negatives(self, studies: EmbeddingBatch) -> float:
        """Of each anchor in each pair that is contrasted: the other studies, less those of its group."""
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
    names = frozenset(name.strip() for name in pair.split(_JOINT))
    if len(names) != 2 or "" in names or not weight > 0:
        raise ValueError(
            f"got weight {weight} for pair {pair!r}, expected a positive number for two modalities joined by "
            f"{_JOINT!r}; set `objective.weights`, such as {{xray+report: 1.0}}"
        )
    return names, weight
