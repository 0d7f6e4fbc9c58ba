"""Multilayer perceptron over a row, the baseline for the transformer."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyclinic.nn import Encoded, Encoder


class MLPEncoder(Encoder):
    """Two-layer perceptron on values, their flags and one-hot levels; one token per study.

    Args:
        numeric: number of numeric columns C.
        levels: known levels of each of the K categorical columns.
        width: width D of the output.
        hidden: width of the hidden layer.
        dropout: share of hidden units set to zero in training.

    Raises:
        ValueError: there is no column.
    """

    def __init__(
        self, *, numeric: int, levels: Sequence[int] = (), width: int = 64, hidden: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.counts = [count + 1 for count in levels]
        features = 2 * numeric + sum(self.counts)
        if not features:
            raise ValueError("got no column; set `numeric` or `levels`")
        self.width = width
        self.layers = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.LayerNorm(width)
        )

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``values`` and ``observed`` [B, C] and ``levels`` [B, K]."""
        values = inputs["values"]
        coded = [F.one_hot(inputs["levels"][:, k], count).to(values.dtype) for k, count in enumerate(self.counts)]
        pooled = self.layers(torch.cat([values, inputs["observed"].to(values.dtype), *coded], dim=1))
        return Encoded(pooled[:, None], pooled, torch.zeros(len(values), 1, dtype=torch.bool, device=values.device))
