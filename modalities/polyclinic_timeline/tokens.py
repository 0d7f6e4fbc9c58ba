"""Tokens of events, one for each, and the reconstruction of their values in masked pretraining."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import Reconstruction, Tokenizer, Tokens
from polyclinic_timeline.vocabulary import PADDING, TEXT_BUCKETS

_MASK_RATIO = 0.3
_SHORTEST_HOURS, _LONGEST_HOURS = 1.0, 8760.0
_WAVES = 16
_HIDDEN_UNITS = 32


class TimeEncoding(nn.Module):
    """Continuous encoding of a time: a linear and several periodic parts (Kazemi et al. 2019, "Time2Vec", equation 1).

    The linear part is of the logarithm of hours, because a stay lasts hours and a history decades. Periods start in
    geometric steps from an hour to a year, as positions do (Vaswani et al. 2017), and are learned.

    Args:
        width: width of the encoding, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        steps = torch.arange(_WAVES) / (_WAVES - 1)
        periods = _SHORTEST_HOURS * (_LONGEST_HOURS / _SHORTEST_HOURS) ** steps
        self.frequencies = nn.Parameter(2 * math.pi / periods)
        self.project = nn.Linear(2 * _WAVES + 1, width)

    def forward(self, hours: Float[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Encode hours from the anchor."""
        hours = hours[:, :, None]
        angles = hours * self.frequencies
        amount = torch.sign(hours) * torch.log1p(hours.abs()) / math.log1p(_LONGEST_HOURS)
        encoded: Tensor = self.project(torch.cat([amount, angles.sin(), angles.cos()], dim=2))
        return encoded


class ValueReconstruction(Reconstruction):
    """Predict the scaled value of hidden events from their codes and times, and from the other events.

    Args:
        width: width W of the decoder.
        rows: rows of the table of codes.
    """

    def __init__(self, *, width: int, rows: int) -> None:
        super().__init__()
        self.ratio = _MASK_RATIO
        self.codes = nn.Embedding(rows, width, padding_idx=PADDING)
        self.times = TimeEncoding(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Return one unit per event; one without a value (-1) is never hidden."""
        known = inputs["observed"]
        return torch.arange(known.shape[1], device=known.device).expand_as(known).masked_fill(~known, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return embeddings of code and time."""
        queries: Tensor = self.codes(inputs["code"]) + self.times(inputs["hours"])
        return queries

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Return a scaled value for each hidden event."""
        predicted: Tensor = self.head(decoded)
        return predicted

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """Return the scaled values."""
        return inputs["values"][hidden][:, None]

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Return the squared error in robust standard deviations."""
        return torch.square(predicted - targets)[:, 0]

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """Return the mean over all places, which are not the same event in two studies."""
        mean = total.sum(dim=0, keepdim=True) / count.sum(dim=0, keepdim=True).clamp_min(1)
        return mean.expand_as(total)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Replace hidden values by NaN."""
        return {**inputs, "values": inputs["values"].masked_fill(hidden, torch.nan)}

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Replace hidden values by predictions."""
        values = inputs["values"].clone()
        values[hidden] = predicted[:, 0].to(values.dtype)
        return {**inputs, "values": values}

    def blank(self, count: int) -> dict[str, Tensor]:
        """Refuse: what was measured, and when, belongs to the true events."""
        raise ValueError("got a study without events, of which neither codes nor times are known; leave it out")

    def alternatives(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Float[Tensor, "n P"]]:
        """Return the last visible value of the same code before each hidden one; 0, the median, without one."""
        visible = inputs["observed"] & ~hidden
        same = inputs["code"][:, :, None] == inputs["code"][:, None, :]
        places = torch.arange(hidden.shape[1], device=hidden.device)
        earlier = same & visible[:, None, :] & (places[None, :] < places[:, None])
        last = torch.where(earlier, places, -1).amax(dim=2)
        carried = inputs["values"].gather(1, last.clamp_min(0)).masked_fill(last < 0, 0.0)
        return {"last value": carried[hidden][:, None]}


class EventTokenizer(Tokenizer):
    """Embed each event by its code, its value on the scale of the code, and the kind of its text.

    Args:
        rows: rows of the table of codes.
        width: token width D.
    """

    def __init__(self, *, rows: int, width: int) -> None:
        super().__init__()
        self._rows = rows
        self.codes = nn.Embedding(rows, width, padding_idx=PADDING)
        self.slopes = nn.Embedding(rows, width, padding_idx=PADDING)
        self.curve = nn.Sequential(nn.Linear(1, _HIDDEN_UNITS), nn.GELU(), nn.Linear(_HIDDEN_UNITS, width))
        self.absence = nn.Parameter(torch.randn(width) * 0.02)
        self.texts = nn.Embedding(TEXT_BUCKETS, width)
        self.times = TimeEncoding(width)
        for table in (self.codes, self.slopes, self.texts):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``code``, ``values``, ``observed``, ``text`` and ``hours``, each [B, T]; ``padding`` marks padding."""
        values, code = inputs["values"][:, :, None], inputs["code"]
        measured = values * self.slopes(code) + self.curve(values)
        number = torch.where(inputs["observed"][:, :, None], measured, self.absence)
        tokens = self.codes(code) + number + self.texts(inputs["text"])
        return Tokens(tokens, self.times(inputs["hours"]).to(tokens.dtype), inputs["padding"])

    def reconstruction(self, width: int) -> ValueReconstruction:
        """Build the reconstruction for masked pretraining with a decoder of the given width."""
        return ValueReconstruction(width=width, rows=self._rows)
