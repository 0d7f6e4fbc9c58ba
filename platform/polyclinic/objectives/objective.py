"""The base class of objectives: a loss over embeddings with its scoring rule."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Groups, Present, gather_embeddings
from polyclinic.objectives.functional import Scale


class Objective(nn.Module, ABC):
    """A contrastive objective over the embeddings of any number of modalities.

    An objective includes its temperature and normalisation, because a model must be scored as it was trained:
    zero-shot classification, retrieval and deployment all call ``score``.

    Attributes:
        scale: factor on the logits, the inverse of the temperature.
        neutral: identity value: an embedding with this value in every dimension does not change the scores of other
            modalities.
        referenced_modalities: modalities in the settings, for the task to validate.
    """

    scale: Scale
    neutral: float
    referenced_modalities: frozenset[str] = frozenset()

    def forward(
        self, embeddings: Embeddings, present: Present | None = None, groups: Groups | None = None
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch, gathered over all ranks.

        Args:
            embeddings: ``N`` unnormalised vectors per modality; rows of missing modalities are arbitrary but finite.
            present: mask per modality, True for the studies that have it; all studies when None.
            groups: group of each study; see ``EmbeddingBatch``.

        Returns:
            The loss; zero with a gradient path if no part of it has enough studies.

        Raises:
            ValueError: there are fewer than two modalities, the widths differ, or a value is not finite.
        """
        return self.loss(gather_embeddings(EmbeddingBatch.of(embeddings, present, groups)))

    def loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """Return the loss of gathered studies, for tasks that apply the objective to several subsets.

        Raises:
            ValueError: an embedding is not finite.
        """
        studies.refuse_non_finite()
        with torch.autocast(self.scale.log.device.type, enabled=False):
            return self._loss(studies)

    @abstractmethod
    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """Return the loss of the studies of all ranks, in the precision of their embeddings."""

    @abstractmethod
    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """Score candidates of one modality for queries of one or more other modalities.

        Args:
            query: ``N`` unnormalised vectors per modality.
            candidates: unnormalised vectors of the candidates' modality.
            present: mask per query modality, True for the studies that have it; the other rows have no effect.

        Returns:
            Scores in units of logits; zero for a study without a query modality.
        """

    @abstractmethod
    def negatives(self, studies: EmbeddingBatch) -> float:
        """Return the mean number of negatives per anchor in the loss, over all ranks."""

    def diagnostics(self, studies: EmbeddingBatch) -> Mapping[str, float]:
        """Return additional numbers to log at validation."""
        return {}
