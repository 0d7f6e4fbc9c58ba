"""Reports as bags of short phrases: learned from few reports, where a transformer has yet to find its words."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyclinic.nn import Encoded, Encoder, StatisticsPooling

_HASH, _SHIFT = 31_337, 7_919
_SPREAD = 0.2
"""Initial deviation of the embeddings: small beside the steps of the optimiser, so that words move early."""


class NgramEncoder(Encoder):
    """The sum of hashed embeddings of the 1- to n-grams that start at each token (Joulin et al. 2016), then an MLP.

    "No effusion" and "effusion" are different rows of a table from the start, so that negation need not be found by
    attention first. Use it where there are some thousands of reports rather than some hundreds of thousands.

    Args:
        width: of the embeddings, D.
        rows: of the table of each length; n-grams that share a row share an embedding.
        longest: n-grams of 1 to this many tokens.

    Raises:
        ValueError: a size below one.
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
            nn.init.normal_(table.weight, std=_SPREAD)
        self.tables = nn.ModuleList(tables)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.pool = StatisticsPooling(width)

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["tokens"]`` [B, T] where not ``inputs["padding"]`` [B, T]."""
        padding = inputs["padding"]
        summed = self._embedded(inputs["tokens"].masked_fill(padding, 0))
        mixed = summed + self.mlp(summed)
        return Encoded(mixed, self.pool(mixed, padding), padding)

    def _embedded(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        hashed = tokens % self.rows
        total = torch.zeros((), device=tokens.device)
        for length, table in enumerate(self.tables):
            if length:
                following = F.pad(tokens, (0, length))[:, length:]
                hashed = (hashed * _HASH + following * _SHIFT + length) % self.rows
            total = total + table(hashed)
        return total
