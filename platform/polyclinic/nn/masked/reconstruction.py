"""The part of a masked autoencoder that is specific to a modality: maskable tokens, targets, predictions and loss.

Predictions and targets have P values per token, whose meaning depends on the modality.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

_SMALLEST_VARIANCE = 1e-6


class Reconstruction(nn.Module, ABC):
    """The part of a decoder of width W that is specific to a modality.

    ``inputs`` are collated inputs of B studies, and ``hidden`` [B, T] is the mask of their predicted tokens. The n
    hidden tokens are in order of studies, and of places within a study.

    Attributes:
        ratio: default share of the tokens to hide.
    """

    ratio: float

    @abstractmethod
    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Return the unit of each token, 0 to T-1; its tokens are hidden together. -1 is never hidden (padding)."""

    @abstractmethod
    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return embeddings that identify each token for the decoder, such as its position, column or lead."""

    @abstractmethod
    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Return predictions from decoded tokens at the given places."""

    @abstractmethod
    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """Return the content of the hidden tokens: values, or probabilities of classes; NaN where unknown."""

    @abstractmethod
    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Return the loss of each hidden token."""

    @abstractmethod
    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """Return the best constant prediction over studies, from the sums of known targets and their numbers."""

    @abstractmethod
    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Return the inputs with hidden tokens blanked, for display."""

    @abstractmethod
    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Return the inputs with hidden tokens replaced by predictions."""

    @abstractmethod
    def blank(self, count: int) -> dict[str, Tensor]:
        """Return blank inputs of ``count`` studies, with all tokens to be hidden and predicted.

        Raises:
            ValueError: predictions of this modality need the true signal.
        """

    def alternatives(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Float[Tensor, "n P"]]:
        """Return predictions of simple baselines without learning, by name."""
        return {}


class PatchReconstruction(Reconstruction):
    """Regression of patches of a regular signal (He et al. 2022, section 3).

    Args:
        width: width of the decoder, W.
        values: number of values per patch, P.
        ratio: default share of the patches to hide.
        normalised: whether to normalise each target patch to zero mean and unit deviation, from which encoders learn
            more about structure, but whose predictions have no level.
    """

    def __init__(self, *, width: int, values: int, ratio: float, normalised: bool) -> None:
        super().__init__()
        self.ratio, self.normalised = ratio, normalised
        self.head = nn.Linear(width, values)

    @abstractmethod
    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Return the signal in patches; NaN where nothing was recorded."""

    @abstractmethod
    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs with their signal replaced by patches."""

    @abstractmethod
    def zero_inputs(self, count: int) -> dict[str, Tensor]:
        """Return inputs of ``count`` studies with a completely recorded signal of zeros."""

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Return predictions by a linear map."""
        predicted: Tensor = self.head(decoded)
        return predicted

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """Return the hidden patches, normalised if set."""
        patches = self.cut(inputs)[hidden]
        return self.relative(patches, patches)

    def relative(self, patches: Float[Tensor, "n P"], truth: Float[Tensor, "n P"]) -> Float[Tensor, "n P"]:
        """Return predictions of the signal on the scale of the targets."""
        if not self.normalised:
            return patches
        mean, deviation = _level(truth)
        return (patches - mean) / deviation

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Return the mean squared error over the recorded values."""
        known = ~targets.isnan()
        squared = torch.square(torch.where(known, predicted - targets, 0.0))
        return squared.sum(dim=1) / known.sum(dim=1).clamp_min(1)

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """Return the mean at each place."""
        return total / count.clamp_min(1)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Replace hidden patches by NaN."""
        return self.join(self.cut(inputs).masked_fill(hidden[:, :, None], torch.nan), inputs)

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Replace hidden patches by predictions; normalised ones get the level of the true patch."""
        patches = self.cut(inputs)
        if self.normalised:
            mean, deviation = _level(patches[hidden])
            predicted = predicted * deviation + mean
        return self.join(patches.index_put((hidden,), predicted.to(patches.dtype)), inputs)

    def blank(self, count: int) -> dict[str, Tensor]:
        """Return a signal to be predicted completely.

        Raises:
            ValueError: the targets are normalised.
        """
        if self.normalised:
            raise ValueError(
                "got a model of normalised patches, whose predictions have no level; train with "
                "`normalised_targets: false` to predict a missing modality"
            )
        return self.zero_inputs(count)


def _level(patches: Float[Tensor, "n P"]) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Return the mean and sample deviation of the known values of each patch."""
    known = ~patches.isnan()
    count = known.sum(dim=1, keepdim=True)
    mean = patches.nan_to_num().sum(dim=1, keepdim=True) / count.clamp_min(1)
    squared = torch.where(known, torch.square(patches - mean), 0.0).sum(dim=1, keepdim=True)
    return mean, torch.sqrt(squared / (count - 1).clamp_min(1) + _SMALLEST_VARIANCE)
