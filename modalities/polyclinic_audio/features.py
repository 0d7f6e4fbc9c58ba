"""Statistics of mel bands as the fixed features of a recording."""

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures

_QUANTILES = (0.1, 0.5, 0.9)


class BandFeatures(FixedFeatures):
    """Mean, deviation and quantiles of each band over time, and of its changes between frames.

    Args:
        mels: number of bands.
    """

    def __init__(self, *, mels: int) -> None:
        super().__init__()
        self.outputs = (3 + len(_QUANTILES)) * mels

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of the first ``inputs["frames"]`` [B] frames of ``inputs["mel"]`` [B, F, M]."""
        pairs = zip(inputs["mel"], inputs["frames"].tolist(), strict=True)
        return torch.stack([_statistics(mel[: max(1, frames)]) for mel, frames in pairs])


def _statistics(bands: Float[Tensor, "F M"]) -> Float[Tensor, " S"]:
    levels = torch.quantile(bands, torch.tensor(_QUANTILES, dtype=bands.dtype, device=bands.device), dim=0)
    changes = bands.diff(dim=0).abs().sum(dim=0) / max(1, len(bands) - 1)
    return torch.cat([bands.mean(dim=0), bands.std(dim=0, correction=0), changes, levels.flatten()])
