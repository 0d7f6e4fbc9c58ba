"""Histograms and coarse means as the fixed features of a volume."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures

_BINS, _CELLS = 16, 6


def volume_features(volumes: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B F"]:
    """Return the histogram of each channel, and the mean of each channel in 6 x 6 x 6 cells."""
    edges = torch.linspace(-1, 1, _BINS + 1, dtype=volumes.dtype, device=volumes.device)
    place = torch.bucketize(volumes.flatten(2).contiguous(), edges[1:-1])
    shares = torch.stack([(place == number).to(volumes).mean(dim=2) for number in range(_BINS)], dim=2)
    cells = F.adaptive_avg_pool3d(volumes, _CELLS)
    return torch.cat([shares.flatten(1), cells.flatten(1)], dim=1)


class VolumeFeatures(FixedFeatures):
    """Histograms and coarse means; see ``volume_features``.

    Args:
        channels: number of channels.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.outputs = channels * (_BINS + _CELLS**3)

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of ``inputs["volume"]`` [B, C, X, Y, Z]."""
        return volume_features(inputs["volume"])
