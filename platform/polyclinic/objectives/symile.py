"""Symile: contrast of any number of modalities at once (Saporta et al. 2024, "Contrasting with Symile")."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.normalize import rms
from polyclinic.objectives.objective import (
    Embeddings,
    Objective,
    Present,
    check_embeddings,
    complete_rows,
    zero_loss,
)
from polyclinic.objectives.scale import Scale


class Symile(Objective):
    """Multilinear contrast with shuffled negatives, O(N) tuples per anchor (paper, section 3 and appendix).

    The logit of a tuple is ``scale * mean_d(prod_m z_m)`` over RMS-normalised embeddings. Each modality in turn is
    the anchor; its own tuple is the only positive, and negatives replace all other modalities by those of other
    studies. Of the others, the first keeps the batch's order and the rest are permuted independently: relative
    order is all that matters, the tuple of column j != i then never holds study i in the first place, so that no
    negative can coincide with the positive, and for two modalities the loss is symmetric InfoNCE exactly.

    Why RMS and not L2: the product sum of M = 3 unit vectors of width d is about 1/d by chance and 1/sqrt(d) when
    aligned, so that CLIP's habit (L2, scale at most 100) trains nothing. RMS-normalised vectors with the mean over
    d give 1/sqrt(d) by chance and 1 when aligned, and a scale that starts at 5 learns within seconds.

    Args:
        shuffles: independent permutations K per anchor; a study is contrasted with K * (N - 1) negatives.
        initial_scale: of the logits.
        max_scale: upper bound of the learned scale.
        learnable_scale: whether the scale is trained.

    Raises:
        ValueError: ``shuffles`` below one, or scales out of order.
    """

    draws: Tensor
    neutral = 1.0

    def __init__(
        self,
        *,
        shuffles: int = 1,
        initial_scale: float = 5.0,
        max_scale: float = 100.0,
        learnable_scale: bool = True,
    ) -> None:
        super().__init__()
        if shuffles < 1:
            raise ValueError(f"got shuffles {shuffles}, expected at least 1; set `objective.shuffles`")
        self.shuffles = shuffles
        self.scale = Scale(initial=initial_scale, largest=max_scale, learnable=learnable_scale)
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Embeddings, present: Present | None = None) -> Float[Tensor, ""]:
        """Mean over anchors of the cross-entropy of the positive tuple, over studies that have every modality."""
        check_embeddings(embeddings)
        rows = complete_rows(embeddings, present)
        if int(rows.sum()) < 2:
            return zero_loss(embeddings, self.scale())
        normalised = [rms(value[rows]) for value in embeddings.values()]
        generator = torch.Generator().manual_seed(int(self.draws))
        if self.training:
            self.draws += 1
        losses = [self._anchor_loss(normalised, anchor, generator) for anchor in range(len(normalised))]
        return torch.stack(losses).mean()

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """The logit of each candidate with the query's tuple; an absent modality is left out of the product."""
        first = next(iter(query.values()))
        product, any_present = torch.ones_like(first), torch.zeros_like(first[:, :1], dtype=torch.bool)
        for name, value in query.items():
            rows = torch.ones_like(any_present) if present is None else present[name][:, None]
            product = product * torch.where(rows, rms(value), torch.ones_like(value))
            any_present = any_present | rows
        return self.scale() * (product * any_present) @ rms(candidates).T / candidates.shape[-1]

    def _anchor_loss(
        self, normalised: list[Float[Tensor, "n d"]], anchor: int, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        x, *others = [normalised[anchor], *normalised[:anchor], *normalised[anchor + 1 :]]
        own = torch.eye(len(x), dtype=torch.bool, device=x.device)
        factor = self.scale() / x.shape[-1]
        positive = factor * (x * math.prod(others[1:], start=others[0])).sum(dim=-1, keepdim=True)
        blocks = []
        for shuffle in range(self.shuffles if len(others) > 1 else 1):
            logits = factor * x @ self._permuted_product(others, generator).T
            replacement = positive if shuffle == 0 else torch.full_like(positive, -torch.inf)
            blocks.append(torch.where(own, replacement, logits))
        return F.cross_entropy(torch.cat(blocks, dim=1), torch.arange(len(x), device=x.device))

    @staticmethod
    def _permuted_product(others: list[Float[Tensor, "n d"]], generator: torch.Generator) -> Float[Tensor, "n d"]:
        product = others[0]
        for other in others[1:]:
            order = torch.randperm(len(other), generator=generator)
            product = product * other[order.to(other.device)]
        return product
