"""An X-ray encoder from a 2-D network of MONAI, with local weights only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from polyclinic.nn import Encoded, Encoder
from polyclinic_monai.network import MonaiNetwork


class MonaiEncoder(Encoder):
    """A 2-D network of MONAI for one-channel radiographs.

    Args:
        name: name of the network; see ``polyclinic_monai.network.NETWORKS``.
        weights: local file in MONAI's layout; random weights unless set.

    Raises:
        ValueError: the name is unknown, or the weights do not fit.
    """

    def __init__(self, *, name: str, weights: Path | None = None) -> None:
        super().__init__()
        self.network = MonaiNetwork(name=name, dimensions=2, channels=1, weights=weights)
        self.width, self.account = self.network.width, self.network.account

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings without the weights file."""
        return {**settings, "weights": None}

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["image"]`` [B, 1, H, H]; tokens are the final feature map."""
        encoded: Encoded = self.network(inputs["image"])
        return encoded
