"""Bag-of-n-grams encoder of reports, which needs fewer reports than a transformer."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyclinic.nn import Encoded, Encoder, StatisticsPooling

_MULTIPLIER, _NEXT_MULTIPLIER = 31_337, 7_919
_INITIAL_DEVIATION = 0.2
"""Initial deviation of the embeddings; small compared with optimiser steps, so that words are learned early."""


class NgramEncoder(Encoder):
    """Sum of hashed embeddings of the 1- to n-grams that start at each token (Joulin et al. 2016), and an MLP.

    "No effusion" and "effusion" have different embeddings from the start, so that negation need not be learned by
    attention. Use it for thousands of reports rather than hundreds of thousands.

    Args:
        width: width D of the embeddings.
        rows: rows of the table of each length; colliding n-grams share an embedding.
        longest: largest n.

    Raises:
        ValueError: a size is below one.
    """

    def __init__(self, *, width: int = 256, rows: int = 4096, longest: int = 3) -> None:
        super().__init__()
        if min(width, rows, longest) < 1:
            raise ValueError(
                f"got width {width}, rows {rows} and longest {longest}, expected at least 1; set `width`, `rows` and "
                "`longest`"
            )
        self.width, self.rows = width, rows
        tables = [nn.Embedding(rows, width) for _ in range(longest)]
        for table in tables:
            nn.init.normal_(table.weight, std=_INITIAL_DEVIATION)
        self.tables = nn.ModuleList(tables)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.pool = StatisticsPooling(width)

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["tokens"]`` [B, T] outside ``inputs["padding"]`` [B, T]."""
        padding = inputs["padding"]
        summed = self._embedded(inputs["tokens"].masked_fill(padding, 0))
        mixed = summed + self.mlp(summed)
        return Encoded(mixed, self.pool(mixed, padding), padding)

    def _embedded(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        # The hash of an n-gram extends that of its first n - 1 tokens.
        hashed = tokens % self.rows
        total = torch.zeros((), device=tokens.device)
        for length, table in enumerate(self.tables):
            if length:
                following = F.pad(tokens, (0, length))[:, length:]
                hashed = (hashed * _MULTIPLIER + following * _NEXT_MULTIPLIER + length) % self.rows
            total = total + table(hashed)
        return total
