"""Fusion by concatenation."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.fusion.fusion import Fused, Fusion


class ConcatenationFusion(Fusion):
    """All features side by side, a learned vector in place of an absent modality, and a two-layer perceptron.

    Args:
        widths: of each modality's features.
        outputs: K.
        hidden: width between the two layers; 0 for one linear map.
    """

    def __init__(self, widths: dict[str, int], outputs: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()})
        self.predict = perceptron(sum(widths.values()), hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse."""
        filled = [
            torch.where(present[name][:, None], features[name], vector.to(features[name].dtype))
            for name, vector in self.absent.items()
        ]
        return Fused(self.predict(torch.cat(filled, dim=1)), (), 0.0)


def perceptron(width: int, hidden: int, outputs: int) -> nn.Module:
    """A linear map, or two with a hidden layer between them."""
    if not hidden:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs))
