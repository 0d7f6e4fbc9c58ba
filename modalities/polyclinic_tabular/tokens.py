"""One token per column (Gorishniy et al. 2021, section 3.3), with a learned vector for every missing value."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import Reconstruction, Tokenizer, Tokens

_RATIO = 0.5


class ColumnReconstruction(Reconstruction):
    """A number for each numeric column, probabilities of the levels for each categorical one.

    Of the P values of a token the first is the number, the others the levels; those that a column does not have are
    NaN in the targets. The loss is a squared error in deviations of a column, or a cross-entropy in nats.

    Args:
        width: of the decoder, W.
        numeric: number of numeric columns C.
        levels: known levels of each of the K categorical columns.
        centre: about the mean of a scaled numeric column.
        spread: about its deviation.
    """

    def __init__(self, *, width: int, numeric: int, levels: Sequence[int], centre: float, spread: float) -> None:
        super().__init__()
        self.ratio = _RATIO
        self._numeric, self._levels, self._centre, self._spread = numeric, list(levels), centre, spread
        columns, values = numeric + len(levels), 1 + max(levels, default=0)
        self.columns = nn.Parameter(torch.randn(1, columns, width) * 0.02)
        self.weight = nn.Parameter((torch.rand(columns, values, width) * 2 - 1) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(columns, values))

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Every column by itself; a value that is missing hides nothing."""
        known = torch.cat([inputs["observed"], inputs["levels"] > 0], dim=1)
        return torch.arange(known.shape[1], device=known.device).expand_as(known).masked_fill(~known, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """A learned vector for each column."""
        return self.columns

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """A linear map of each column's own."""
        return torch.einsum("nw,npw->np", decoded, self.weight[places]) + self.bias[places]

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """Scaled numbers in deviations, levels as 0 and 1."""
        numbers = ((inputs["values"] - self._centre) / self._spread).masked_fill(~inputs["observed"], torch.nan)
        others = self.bias.shape[1] - 1
        parts = [F.pad(numbers[:, :, None], (0, others), value=torch.nan)]
        for column, count in enumerate(self._levels):
            level = inputs["levels"][:, column]
            chosen = F.one_hot((level - 1).clamp_min(0), count).to(numbers.dtype)
            known = chosen.masked_fill(level[:, None] == 0, torch.nan)
            parts.append(F.pad(known, (1, others - count), value=torch.nan)[:, None])
        return torch.cat(parts, dim=1)[hidden]

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Squared error of a number, cross-entropy of a level."""
        known = ~targets.isnan()
        truth = targets.nan_to_num()
        number = torch.where(known[:, 0], torch.square(predicted[:, 0] - truth[:, 0]), 0.0)
        logits = predicted[:, 1:].masked_fill(~known[:, 1:] & known[:, 1:].any(dim=1, keepdim=True), -torch.inf)
        surprise = torch.where(known[:, 1:], truth[:, 1:] * F.log_softmax(logits, dim=1), 0.0)
        return number - surprise.sum(dim=1)

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """The mean of each number, the logarithm of each level's share with one study added to every level."""
        levels = torch.log((total[:, 1:] + 1) / (count[:, 1:] + 1))
        return torch.cat([total[:, :1] / count[:, :1].clamp_min(1), levels], dim=1)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Hidden numbers become NaN, hidden levels 0."""
        numbers, levels = hidden[:, : self._numeric], hidden[:, self._numeric :]
        return {
            "values": inputs["values"].masked_fill(numbers, torch.nan),
            "observed": inputs["observed"] & ~numbers,
            "levels": inputs["levels"].masked_fill(levels, 0),
        }

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Hidden numbers become predictions, hidden levels the likeliest ones."""
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
        """A row in which every column is to be predicted."""
        values = self.bias.new_zeros(count, self._numeric)
        return {
            "values": values,
            "observed": torch.ones_like(values, dtype=torch.bool),
            "levels": torch.ones(count, len(self._levels), dtype=torch.int64, device=values.device),
        }


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
