"""What a modality adds to a masked autoencoder: which tokens may be hidden, what they hide, and how far a guess is off.

Predictions and targets have P values a token; their meaning is the modality's own.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

_SMALLEST_VARIANCE = 1e-6


class Reconstruction(nn.Module, ABC):
    """The part of a decoder of width W that knows its modality.

    ``inputs`` are collated inputs of B studies, ``hidden`` [B, T] says which of their tokens are predicted; the n
    hidden tokens come study by study, in order of their places.

    Attributes:
        ratio: share of the tokens that is hidden unless the run says otherwise.
    """

    ratio: float

    @abstractmethod
    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Tokens of equal number, from 0 to T-1, are hidden together; -1 where a token is never hidden, as padding."""

    @abstractmethod
    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """What tells the decoder which token is asked for: its position, its column, its lead."""

    @abstractmethod
    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Predictions from decoded tokens at the given places."""

    @abstractmethod
    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """What the hidden tokens hide; probabilities where classes are predicted, NaN where nothing is known."""

    @abstractmethod
    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """The loss of each hidden token."""

    @abstractmethod
    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """The best prediction that is the same for every study, from sums of known targets and their numbers."""

    @abstractmethod
    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """The inputs with hidden tokens blank, to be shown to people."""

    @abstractmethod
    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """The inputs with hidden tokens replaced by predictions."""

    @abstractmethod
    def blank(self, count: int) -> dict[str, Tensor]:
        """Inputs of studies of which nothing is known, every token there to be hidden and predicted.

        Raises:
            ValueError: predictions of this modality stand for nothing without the truth beside them.
        """

    def alternatives(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Float[Tensor, "n P"]]:
        """Predictions of methods without learning, by name, that users of this modality would try first."""
        return {}


class PatchReconstruction(Reconstruction):
    """Regression of patches of a regular signal (He et al. 2022, section 3).

    Args:
        width: of the decoder, W.
        values: of a patch, P.
        ratio: share of the patches that is hidden unless the run says otherwise.
        normalised: predict each patch with its own mean and deviation removed, which teaches more about structure
            and leaves predictions without a level.
    """

    def __init__(self, *, width: int, values: int, ratio: float, normalised: bool) -> None:
        super().__init__()
        self.ratio, self.normalised = ratio, normalised
        self.head = nn.Linear(width, values)

    @abstractmethod
    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """The signal in patches; NaN where nothing was recorded."""

    @abstractmethod
    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inputs with their signal replaced by patches."""

    @abstractmethod
    def silent(self, count: int) -> dict[str, Tensor]:
        """Inputs of a signal that was recorded throughout and is zero."""

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """A linear map."""
        predicted: Tensor = self.head(decoded)
        return predicted

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """The patches that are hidden, normalised if wanted."""
        patches = self.cut(inputs)[hidden]
        return self.relative(patches, patches)

    def relative(self, patches: Float[Tensor, "n P"], truth: Float[Tensor, "n P"]) -> Float[Tensor, "n P"]:
        """Guesses of the signal on the scale of the targets."""
        if not self.normalised:
            return patches
        mean, deviation = _level(truth)
        return (patches - mean) / deviation

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Mean squared error over what was recorded."""
        known = ~targets.isnan()
        squared = torch.square(torch.where(known, predicted - targets, 0.0))
        return squared.sum(dim=1) / known.sum(dim=1).clamp_min(1)

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """The mean at each place."""
        return total / count.clamp_min(1)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Hidden patches become NaN."""
        return self.join(self.cut(inputs).masked_fill(hidden[:, :, None], torch.nan), inputs)

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Hidden patches become predictions; normalised ones are given the truth's level."""
        patches = self.cut(inputs)
        if self.normalised:
            mean, deviation = _level(patches[hidden])
            predicted = predicted * deviation + mean
        return self.join(patches.index_put((hidden,), predicted.to(patches.dtype)), inputs)

    def blank(self, count: int) -> dict[str, Tensor]:
        """A signal to be predicted from end to end.

        Raises:
            ValueError: targets are normalised.
        """
        if self.normalised:
            raise ValueError(
                "got a model of normalised patches, whose predictions have no level; train with "
                "`normalised_targets: false` to predict a modality that is absent"
            )
        return self.silent(count)


def _level(patches: Float[Tensor, "n P"]) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Mean and sample deviation of what is known of each patch."""
    known = ~patches.isnan()
    count = known.sum(dim=1, keepdim=True)
    mean = patches.nan_to_num().sum(dim=1, keepdim=True) / count.clamp_min(1)
    squared = torch.where(known, torch.square(patches - mean), 0.0).sum(dim=1, keepdim=True)
    return mean, torch.sqrt(squared / (count - 1).clamp_min(1) + _SMALLEST_VARIANCE)
