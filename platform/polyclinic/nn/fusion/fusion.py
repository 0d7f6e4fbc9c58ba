"""What every fusion takes and gives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Readout(NamedTuple):
    """What was predicted on the way, and of which studies that is a prediction of its own."""

    outputs: Float[Tensor, "B K"]
    rows: Bool[Tensor, " B"]


class Fused(NamedTuple):
    """A fusion's result.

    Attributes:
        outputs: the prediction of B studies.
        earlier: readouts on the way to it, which are trained too; none for most fusions.
        penalty: to be added to the loss.
    """

    outputs: Float[Tensor, "B K"]
    earlier: tuple[Readout, ...]
    penalty: Float[Tensor, ""] | float


class Fusion(nn.Module, ABC):
    """Predicts ``K`` outputs from the features of the modalities that a study has.

    A constructor takes ``widths`` (of each modality's features, by name, in their order) and ``outputs`` (K) first,
    then settings by keyword. What the features of an absent modality hold must not matter.
    """

    @abstractmethod
    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies, any of which may lack any modality, or all."""
