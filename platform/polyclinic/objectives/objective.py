"""What every training objective does: a loss over embeddings, and the scoring rule that belongs to it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.objectives.scale import Scale

Embeddings = Mapping[str, Float[Tensor, "N d"]]
Present = Mapping[str, Bool[Tensor, " N"]]


class Objective(nn.Module, ABC):
    """A contrastive objective over the embeddings of any number of modalities.

    It owns its temperature and its normalisation, because how a model is trained decides how it must be scored:
    zero-shot classification, retrieval and deployment all call ``score``.

    Attributes:
        scale: the factor on the logits, the inverse of the temperature.
        neutral: the value of an embedding's dimension that leaves the scores of other modalities as they are.
    """

    scale: Scale
    neutral: float

    @abstractmethod
    def forward(self, embeddings: Embeddings, present: Present | None = None) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            embeddings: per modality ``N`` unnormalised vectors; rows of absent studies hold anything finite.
            present: per modality which rows are real; all of them when absent.

        Returns:
            The loss; zero, still tied to the graph, when no term has enough studies.

        Raises:
            ValueError: fewer than two modalities, or widths that differ.
        """

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


def check_embeddings(embeddings: Embeddings) -> None:
    """Refuse what cannot be contrasted.

    Raises:
        ValueError: fewer than two modalities, or shapes that differ.
    """
    if len(embeddings) < 2:
        raise ValueError(f"got modalities {list(embeddings)}, expected at least two; set `data.modalities`")
    shapes = {name: tuple(value.shape) for name, value in embeddings.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"got embeddings of different shapes {shapes}; set one `embedding` width for all")


def complete_rows(embeddings: Embeddings, present: Present | None) -> Bool[Tensor, " N"]:
    """Rows at which every modality of ``embeddings`` is real."""
    first = next(iter(embeddings.values()))
    rows = torch.ones(len(first), dtype=torch.bool, device=first.device)
    if present is not None:
        for name in embeddings:
            rows = rows & present[name]
    return rows


def zero_loss(embeddings: Embeddings, scale: Tensor) -> Float[Tensor, ""]:
    """Zero with a gradient path to every input, so that an empty batch trains like any other."""
    return sum((value.sum() * 0.0 for value in embeddings.values()), start=scale * 0.0)
