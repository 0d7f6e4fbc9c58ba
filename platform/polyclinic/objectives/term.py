"""Terms that add to the loss of an objective without changing its scores."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Present
from polyclinic.objectives.functional import Scale
from polyclinic.objectives.objective import Objective


class Term(nn.Module, ABC):
    """A loss over embeddings that is added to an objective, and has no scoring rule.

    Args:
        weight: weight relative to the objective.

    Raises:
        ValueError: ``weight`` is not positive.
    """

    def __init__(self, *, weight: float) -> None:
        super().__init__()
        if not weight > 0:
            raise ValueError(f"got weight {weight}, expected a positive number; set `weight`, or remove the term")
        self.weight = weight

    @abstractmethod
    def forward(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """Return the unweighted loss; zero with a gradient path if there are too few studies."""


class WithTerms(Objective):
    """An objective plus weighted terms; scores, scale and negatives are those of the objective.

    Args:
        objective: objective that scores.
        terms: additional terms, by the name to log them under.
    """

    def __init__(self, *, objective: Objective, terms: dict[str, Term]) -> None:
        super().__init__()
        self.objective = objective
        self.terms = nn.ModuleDict(terms)
        self.neutral, self.referenced_modalities = objective.neutral, objective.referenced_modalities

    @property
    def scale(self) -> Scale:  # type: ignore[override]
        """The scale of the wrapped objective."""
        return self.objective.scale

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        return self.objective.loss(studies) + sum(term.weight * term(studies) for term in self.terms.values())

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """Return the scores of the wrapped objective."""
        return self.objective.score(query, candidates, present)

    def negatives(self, studies: EmbeddingBatch) -> float:
        """Return the number of negatives of the wrapped objective."""
        return self.objective.negatives(studies)

    @torch.no_grad()
    def diagnostics(self, studies: EmbeddingBatch) -> Mapping[str, float]:
        """Return the wrapped objective's diagnostics, and the value of each term."""
        values = {name: float(term(studies)) for name, term in self.terms.items()}
        return {**self.objective.diagnostics(studies), **values}
