"""Regularisation that closes the contrastive gap (Fahim et al. 2024, "It's not a modality gap")."""

from itertools import combinations

from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import EmbeddingBatch
from polyclinic.objectives.functional import alignment, cross_uniformity, uniformity
from polyclinic.objectives.term import Term


class AlignmentUniformity(Term):
    """Alignment of a pair of modalities plus the mean of their uniformities (CUA), over unit vectors.

    With ``cross``, the uniformity between different studies of the two modalities is added (CUAXU). The term is the
    mean over pairs, each over the studies that have both modalities.

    Args:
        weight: weight relative to the objective; 1 as in the paper.
        cross: whether to add the uniformity across modalities.
    """

    def __init__(self, *, weight: float = 1.0, cross: bool = False) -> None:
        super().__init__(weight=weight)
        self.cross = cross

    def forward(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """Average over the pairs that at least two studies have."""
        losses = []
        for pair in combinations(studies.embeddings, 2):
            both = studies.only(pair).complete()
            if len(both) >= 2:
                x, y = both.embeddings.values()
                across = cross_uniformity(x, y) if self.cross else x.new_zeros(())
                losses.append(alignment(x, y) + (uniformity(x) + uniformity(y)) / 2 + across)
        return sum(losses, start=studies.zero_loss()) / max(len(losses), 1)
