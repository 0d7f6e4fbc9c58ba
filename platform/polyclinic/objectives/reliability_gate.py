"""A learned gate per modality and study, so that one poor modality cannot corrupt the product."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Present
from polyclinic.objectives.functional import Scale, rms
from polyclinic.objectives.objective import Objective


class ReliabilityGate(Objective):
    """Replaces each embedding by ``g z + (1 - g) null`` ahead of another objective, in training and in scoring.

    ``z`` is RMS-normalised, ``g = softmax([w z + b, 0])_0`` is the weight of the modality against a NULL option, and
    ``null`` is a learned vector per modality that starts at the objective's neutral value: with ``g = 0`` the modality
    does not change a product or a sum over modalities. Gates start at 0.88, almost open.

    Args:
        objective: objective that contrasts and scores the gated embeddings.
        modalities: gated modalities; omit the candidates' modality, as ``score`` does not gate candidates.
        embedding: width d of the embeddings.

    Raises:
        ValueError: there is no modality.
    """

    def __init__(self, *, objective: Objective, modalities: Sequence[str], embedding: int) -> None:
        super().__init__()
        if not modalities or isinstance(modalities, str):
            raise ValueError(f"got modalities {modalities!r}, expected a list of names; set `objective.modalities`")
        self.objective = objective
        self.neutral = objective.neutral
        self.referenced_modalities = objective.referenced_modalities | frozenset(modalities)
        self.judges = nn.ModuleDict({name: _gate_layer(embedding) for name in modalities})
        self.nulls = nn.ParameterDict(
            {name: nn.Parameter(torch.full((embedding,), objective.neutral)) for name in modalities}
        )

    @property
    def scale(self) -> Scale:  # type: ignore[override]
        """The scale of the wrapped objective."""
        return self.objective.scale

    def gates(self, embeddings: Embeddings) -> dict[str, Float[Tensor, " N"]]:
        """Return the gate of each gated modality in each study, from 0 to 1."""
        return {
            name: self.judges[name](rms(value)).sigmoid()[:, 0]
            for name, value in embeddings.items()
            if name in self.judges
        }

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        return self.objective.loss(replace(studies, embeddings=self._gated(studies.embeddings)))

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """Return the scores of the wrapped objective for gated queries."""
        return self.objective.score(self._gated(query), candidates, present)

    def negatives(self, studies: EmbeddingBatch) -> float:
        """Return the number of negatives of the wrapped objective."""
        return self.objective.negatives(studies)

    @torch.no_grad()
    def diagnostics(self, studies: EmbeddingBatch) -> Mapping[str, float]:
        """Return the wrapped objective's diagnostics, and each modality's mean gate over the studies that have it."""
        means = {
            f"gate/{name}": float(gate[studies.present[name]].mean())
            for name, gate in self.gates(studies.embeddings).items()
            if bool(studies.present[name].any())
        }
        return {**self.objective.diagnostics(studies), **means}

    def _gated(self, embeddings: Embeddings) -> dict[str, Tensor]:
        gates = self.gates(embeddings)
        return {
            name: rms(value) * gates[name][:, None] + self.nulls[name] * (1 - gates[name][:, None])
            if name in gates
            else value
            for name, value in embeddings.items()
        }


def _gate_layer(width: int) -> nn.Linear:
    layer = nn.Linear(width, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, 2.0)
    return layer
