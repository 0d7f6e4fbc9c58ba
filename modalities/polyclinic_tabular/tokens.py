"""One token per column (Gorishniy et al. 2021, section 3.3), with a learned vector for every absence."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens
from polyclinic_tabular.columns import ColumnReconstruction


class FeatureTokenizer(Tokenizer):
    """Numeric columns become ``value * weight + bias``, levels an embedding; a missing value has a vector of its own.

    Args:
        numeric: number of numeric columns C.
        levels: known levels of each of the K categorical columns.
        width: token width D.
        centre: about the mean of a scaled numeric column; for masked pretraining only.
        spread: about its deviation.
    """

    positions: Float[Tensor, "1 T D"]
    offsets: Tensor

    def __init__(
        self, *, numeric: int, levels: Sequence[int], width: int, centre: float = 0.0, spread: float = 1.0
    ) -> None:
        super().__init__()
        self._numeric, self._counts, self._centre, self._spread = numeric, list(levels), centre, spread
        self.weight, self.bias, self.absence = (nn.Parameter(_uniform(numeric, width)) for _ in range(3))
        starts = torch.tensor([0, *(count + 1 for count in levels)])[: len(levels)].cumsum(0)
        self.levels = nn.Parameter(_uniform(sum(levels) + len(levels), width))
        self.register_buffer("offsets", starts, persistent=False)
        self.register_buffer("positions", torch.zeros(1, numeric + len(levels), width), persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``values`` [B, C] with their flags ``observed``, and ``levels`` [B, K]; no token is padding."""
        present = inputs["values"][:, :, None] * self.weight + self.bias
        numeric = torch.where(inputs["observed"][:, :, None], present, self.absence)
        values = torch.cat([numeric, self.levels[inputs["levels"] + self.offsets]], dim=1)
        return Tokens(values, self.positions, torch.zeros(values.shape[:2], dtype=torch.bool, device=values.device))

    def reconstruction(self, width: int) -> ColumnReconstruction:
        """Build what masked pretraining needs, for a decoder of a width."""
        return ColumnReconstruction(
            width=width, numeric=self._numeric, levels=self._counts, centre=self._centre, spread=self._spread
        )


def _uniform(rows: int, width: int) -> Float[Tensor, "R D"]:
    return (torch.rand(rows, width) * 2 - 1) / width**0.5
