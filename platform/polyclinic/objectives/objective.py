"""What every training objective does: a loss over embeddings, and the scoring rule that belongs to it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Groups, Present, gather_embeddings
from polyclinic.objectives.functional import Scale


class Objective(nn.Module, ABC):
    """A contrastive objective over the embeddings of any number of modalities.

    It owns its temperature and its normalisation, because how a model is trained decides how it must be scored:
    zero-shot classification, retrieval and deployment all call ``score``.

    Attributes:
        scale: the factor on the logits, the inverse of the temperature.
        neutral: the value of an embedding's dimension that leaves the scores of other modalities as they are.
        named: modalities that the settings name, for the task to check.
    """

    scale: Scale
    neutral: float
    named: frozenset[str] = frozenset()

    def forward(
        self, embeddings: Embeddings, present: Present | None = None, groups: Groups | None = None
    ) -> Float[Tensor, ""]:
        """The loss of one batch, joined over all ranks.

        Args:
            embeddings: per modality ``N`` unnormalised vectors; rows of absent studies hold anything finite.
            present: per modality which rows are real; all of them when absent.
            groups: studies of equal number are no negatives of each other; see ``EmbeddingBatch``.

        Returns:
            The loss; zero, still tied to the graph, when no term has enough studies.

        Raises:
            ValueError: fewer than two modalities, widths that differ, or values that are not finite.
        """
        return self.loss(gather_embeddings(EmbeddingBatch.of(embeddings, present, groups)))

    def loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """The loss of studies that were gathered already, for tasks that apply it to several subsets.

        Raises:
            ValueError: values that are not finite.
        """
        studies.refuse_non_finite()
        with torch.autocast(self.scale.log.device.type, enabled=False):
            return self._loss(studies)

    @abstractmethod
    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        """The loss of all ranks' studies, in the precision of their embeddings."""

    @abstractmethod
    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """How well each candidate of one further modality fits each query of one or more modalities.

        Args:
            query: per modality ``N`` unnormalised vectors.
            candidates: unnormalised vectors of the modality asked for.
            present: per modality which query rows are real; absent ones do not count.

        Returns:
            Scores in units of logits; a study without any query modality scores zero everywhere.
        """

    @abstractmethod
    def negatives(self, studies: EmbeddingBatch) -> float:
        """How many negatives an anchor meets on average: those that enter the loss, over all ranks."""

    def readings(self, studies: EmbeddingBatch) -> Mapping[str, float]:
        """Further numbers worth logging at validation."""
        return {}
