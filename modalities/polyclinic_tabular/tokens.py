"""Tokens of a row, one per column (Gorishniy et al. 2021, section 3.3), with learned vectors for missing values."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import Reconstruction, Tokenizer, Tokens

_MASK_RATIO = 0.5


class ColumnReconstruction(Reconstruction):
    """Predict a number for each numeric column, and level probabilities for each categorical column.

    Of the P values of a token, the first is the number and the others are the levels; those that a column does not
    have are NaN in the targets. The loss is a squared error in standard deviations, or a cross-entropy in nats.

    Args:
        width: width W of the decoder.
        numeric: number of numeric columns C.
        levels: known levels of each of the K categorical columns.
        centre: approximate mean of scaled numeric columns.
        spread: their approximate standard deviation.
    """

    def __init__(self, *, width: int, numeric: int, levels: Sequence[int], centre: float, spread: float) -> None:
        super().__init__()
        self.ratio = _MASK_RATIO
        self._numeric, self._levels, self._centre, self._spread = numeric, list(levels), centre, spread
        columns, values = numeric + len(levels), 1 + max(levels, default=0)
        self.columns = nn.Parameter(torch.randn(1, columns, width) * 0.02)
        self.weight = nn.Parameter((torch.rand(columns, values, width) * 2 - 1) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(columns, values))

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Return one unit per column; a missing value (-1) is never hidden."""
        is_known = torch.cat([inputs["observed"], inputs["levels"] > 0], dim=1)
        return torch.arange(is_known.shape[1], device=is_known.device).expand_as(is_known).masked_fill(~is_known, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return the learned query of each column."""
        return self.columns

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Apply a separate linear map to each column."""
        return torch.einsum("nw,npw->np", decoded, self.weight[places]) + self.bias[places]

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """Return numbers in standard deviations, and levels as one-hot vectors."""
        numbers = ((inputs["values"] - self._centre) / self._spread).masked_fill(~inputs["observed"], torch.nan)
        # All columns share P, so that targets stack: NaN pads the levels of a number, and the number of a level.
        level_count = self.bias.shape[1] - 1
        parts = [F.pad(numbers[:, :, None], (0, level_count), value=torch.nan)]
        for column, count in enumerate(self._levels):
            level = inputs["levels"][:, column]
            chosen = F.one_hot((level - 1).clamp_min(0), count).to(numbers.dtype)
            one_hot = chosen.masked_fill(level[:, None] == 0, torch.nan)
            parts.append(F.pad(one_hot, (1, level_count - count), value=torch.nan)[:, None])
        return torch.cat(parts, dim=1)[hidden]

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Return the squared error of each number, or the cross-entropy of each level."""
        is_known = ~targets.isnan()
        truth = targets.nan_to_num()
        number = torch.where(is_known[:, 0], torch.square(predicted[:, 0] - truth[:, 0]), 0.0)
        logits = predicted[:, 1:].masked_fill(~is_known[:, 1:] & is_known[:, 1:].any(dim=1, keepdim=True), -torch.inf)
        surprise = torch.where(is_known[:, 1:], truth[:, 1:] * F.log_softmax(logits, dim=1), 0.0)
        return number - surprise.sum(dim=1)

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """Return the mean of each number, and the log share of each level with add-one smoothing."""
        levels = torch.log((total[:, 1:] + 1) / (count[:, 1:] + 1))
        return torch.cat([total[:, :1] / count[:, :1].clamp_min(1), levels], dim=1)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Replace hidden numbers by NaN and hidden levels by 0."""
        numbers, levels = hidden[:, : self._numeric], hidden[:, self._numeric :]
        return {
            "values": inputs["values"].masked_fill(numbers, torch.nan),
            "observed": inputs["observed"] & ~numbers,
            "levels": inputs["levels"].masked_fill(levels, 0),
        }

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Replace hidden numbers by their predictions, and hidden levels by the most probable ones."""
        study, place = hidden.nonzero().unbind(dim=1)
        numeric = place < self._numeric
        filled = {name: value.clone() for name, value in inputs.items()}
        numbers = predicted[numeric, 0] * self._spread + self._centre
        filled["values"][study[numeric], place[numeric]] = numbers.to(filled["values"].dtype)
        filled["observed"][study[numeric], place[numeric]] = True
        for column, count in enumerate(self._levels):
            of_column = place == self._numeric + column
            filled["levels"][study[of_column], column] = predicted[of_column, 1 : 1 + count].argmax(dim=1) + 1
        return filled

    def blank(self, count: int) -> dict[str, Tensor]:
        """Return rows in which every column can be hidden and predicted."""
        values = self.bias.new_zeros(count, self._numeric)
        return {
            "values": values,
            "observed": torch.ones_like(values, dtype=torch.bool),
            "levels": torch.ones(count, len(self._levels), dtype=torch.int64, device=values.device),
        }


class FeatureTokenizer(Tokenizer):
    """Embed numbers as ``value * weight + bias`` and levels by lookup; each column has a vector for missing values.

    Args:
        numeric: number of numeric columns C.
        levels: known levels of each of the K categorical columns.
        width: token width D.
        centre: approximate mean of scaled numeric columns; used in masked pretraining only.
        spread: their approximate standard deviation.
    """

    positions: Float[Tensor, "1 T D"]
    offsets: Tensor

    def __init__(
        self, *, numeric: int, levels: Sequence[int], width: int, centre: float = 0.0, spread: float = 1.0
    ) -> None:
        super().__init__()
        self._numeric, self._counts, self._centre, self._spread = numeric, list(levels), centre, spread
        self.weight, self.bias, self.absence = (nn.Parameter(_uniform(numeric, width)) for _ in range(3))
        # One table holds the levels of all columns, each block preceded by the vector of a missing value.
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
        """Build the reconstruction for masked pretraining with a decoder of the given width."""
        return ColumnReconstruction(
            width=width, numeric=self._numeric, levels=self._counts, centre=self._centre, spread=self._spread
        )


def _uniform(rows: int, width: int) -> Float[Tensor, "R D"]:
    return (torch.rand(rows, width) * 2 - 1) / width**0.5
