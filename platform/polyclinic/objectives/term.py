"""Terms that add to an objective's loss and leave its scores as they are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Present
from polyclinic.objectives.functional import Scale
from polyclinic.objectives.objective import Objective


class Term(nn.Module, ABC):
    """A loss over the embeddings of some studies that is not trained by itself.

    Args:
        weight: of the term beside the objective.

    Raises:
        ValueError: ``weight`` is not positive.
    """

    def __init__(self, *, weight: float) -> None:
        super().__init__()
        if not weight > 0:
            raise ValueError(f"got weight {weight}, expected a positive number; set `weight`, or leave the term out")
        self.weight = weight

    @abstractmethod
    def forward(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """The unweighted loss; zero, still tied to the graph, where too few studies are there."""


class WithTerms(Objective):
    """An objective plus weighted terms; scores, scale and negatives are the objective's.

    Args:
        objective: the loss that scores.
        terms: by any name, under which each is logged.
    """

    def __init__(self, *, objective: Objective, terms: dict[str, Term]) -> None:
        super().__init__()
        self.objective = objective
        self.terms = nn.ModuleDict(terms)
        self.neutral, self.named = objective.neutral, objective.named

    @property
    def scale(self) -> Scale:  # type: ignore[override]
        """The objective's."""
        return self.objective.scale

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        return self.objective.loss(studies) + sum(term.weight * term(studies) for term in self.terms.values())

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """The objective's."""
        return self.objective.score(query, candidates, present)

    def negatives(self, studies: EmbeddingBatch) -> float:
        """The objective's."""
        return self.objective.negatives(studies)

    @torch.no_grad()
    def readings(self, studies: EmbeddingBatch) -> Mapping[str, float]:
        """The objective's, and each term's value."""
        return {**self.objective.readings(studies), **{name: float(term(studies)) for name, term in self.terms.items()}}
