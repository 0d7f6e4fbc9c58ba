"""Histograms and coarse means as the fixed features of a volume."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures, in_double

_BINS, _CELLS = 16, 6
_SHARE_STEPS, _LEVEL_STEPS = 2**16, 2**10
"""Steps per unit to which features are rounded. Cells of air are constant but for rounding errors, which a linear model
on standardised features would magnify; multiples of these steps are exact in single precision."""


def volume_features(volumes: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B F"]:
    """Return the histogram of each channel, and the mean of each channel in 6 x 6 x 6 cells.

    The result is the same in single and in double precision.
    """
    exact = in_double(volumes)
    edges = torch.linspace(-1, 1, _BINS + 1, dtype=exact.dtype, device=exact.device)
    place = torch.bucketize(exact.flatten(2).contiguous(), edges[1:-1])
    shares = torch.stack([(place == number).to(exact).mean(dim=2) for number in range(_BINS)], dim=2)
    levels = F.adaptive_avg_pool3d(exact, _CELLS)
    rounded = [_rounded(shares, _SHARE_STEPS).flatten(1), _rounded(levels, _LEVEL_STEPS).flatten(1)]
    return torch.cat(rounded, dim=1).to(volumes.dtype)


def _rounded(values: Tensor, steps: int) -> Tensor:
    return (values * steps).round() / steps


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
