"""Values and levels as the fixed features of a row."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures


class ColumnFeatures(FixedFeatures):
    """Scaled values, flags of the observed ones, and one indicator per level.

    Args:
        numeric: number of numeric columns.
        levels: known levels of each categorical column.
    """

    def __init__(self, *, numeric: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.outputs = 2 * numeric + sum(levels)
        self._levels = list(levels)

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of ``values`` [B, C], ``observed`` [B, C] and ``levels`` [B, K]."""
        values, observed = inputs["values"], inputs["observed"].to(inputs["values"].dtype)
        columns = zip(inputs["levels"].T, self._levels, strict=True)
        # Level 0 is a missing one, which no indicator marks.
        indicators = [F.one_hot(level, count + 1)[:, 1:].to(values.dtype) for level, count in columns]
        return torch.cat([values * observed, observed, *indicators], dim=1)
