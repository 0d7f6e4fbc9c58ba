"""The interface of features that no gradient changes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FixedFeatures(nn.Module, ABC):
    """Maps one modality's collated inputs to features for a linear model. Whatever ``fit`` learns is a buffer.

    Attributes:
        outputs: number of features F.
        is_sparse: whether most features of a study are zero, so that they are neither centred nor scaled.
    """

    outputs: int
    is_sparse: bool = False

    @torch.no_grad()
    def fit(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Learn statistics from the collated inputs of the training studies; nothing by default."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of each study, which do not depend on the others of the batch."""


def in_double(values: Tensor) -> Tensor:
    """Convert to float64, except on Apple GPUs, which do not have it."""
    return values if values.device.type == "mps" else values.double()
