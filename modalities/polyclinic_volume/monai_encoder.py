"""A volume encoder from a 3-D network of MONAI, with local weights only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from polyclinic.nn import Encoded, Encoder
from polyclinic_monai.network import MonaiNetwork


class MonaiEncoder(Encoder):
    """A 3-D network of MONAI.

    Args:
        name: name of the network; see ``polyclinic_monai.network.NETWORKS``.
        channels: number of channels: 3 for the windows of CT, 1 for MR.
        weights: local file in MONAI's layout; random weights unless set.

    Raises:
        ValueError: the name is unknown, or the weights do not fit.
    """

    def __init__(
        self,
        *,
        name: str,
        channels: int = 3,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.network = MonaiNetwork(name=name, dimensions=3, channels=channels, weights=weights)
        self.width, self.account = self.network.width, self.network.account

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings without the weights file."""
        return {**settings, "weights": None}

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["volume"]`` [B, C, X, Y, Z]; tokens are the final feature map."""
        encoded: Encoded = self.network(inputs["volume"])
        return encoded
