"""Encoders of the published Symile-MIMIC experiment (Saporta et al. 2024, section 5.3, and their code)."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision import models

from polyclinic.nn import Encoded, Encoder, WeightAccount

_BUILDERS = {"resnet18": models.resnet18, "resnet50": models.resnet50}
_RGB_CHANNELS = 3


class ResNetEncoder(Encoder):
    """Residual network of torchvision whose last layer maps to the shared width, followed by LayerNorm.

    Args:
        name: architecture.
        channels: channels of the arrays; with other than three, the first convolution (7 x 7) is replaced.
        width: d, the shared width.
        weights: local weights-only file of torchvision; random weights if None. The last layer of the file is not
            used, and the first layer only with three channels.

    Raises:
        ValueError: the file does not exist, or does not match the network.
    """

    def __init__(
        self,
        *,
        name: Literal["resnet18", "resnet50"] = "resnet50",
        channels: int = 3,
        width: int = 8192,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.resnet = _BUILDERS[name](weights=None)
        if channels != _RGB_CHANNELS:
            self.resnet.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.resnet.fc = nn.Linear(self.resnet.fc.in_features, width)
        self.layer_norm = nn.LayerNorm(width)
        self.width = width
        if weights is not None:
            self.account = _load(
                self.resnet, weights, without=("fc.",) if channels == _RGB_CHANNELS else ("fc.", "conv1.")
            )

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``values`` [B, channels, H, W]; one token per study."""
        return _one_token(self.layer_norm(self.resnet(inputs["values"])))


class LabsEncoder(Encoder):
    """Three linear layers with GELU between them, followed by LayerNorm.

    Args:
        columns: number of percentiles and flags.
        width: d, the shared width.
    """

    def __init__(self, *, columns: int = 100, width: int = 8192) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(columns, 256), nn.GELU(), nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, width)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.width = width

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``values`` [B, columns]; one token per study."""
        return _one_token(self.layer_norm(self.layers(inputs["values"])))


def _one_token(pooled: Tensor) -> Encoded:
    return Encoded(pooled[:, None], pooled, torch.zeros(len(pooled), 1, dtype=torch.bool, device=pooled.device))


def _load(network: nn.Module, weights: Path, *, without: tuple[str, ...]) -> WeightAccount:
    if not weights.is_file():
        raise ValueError(f"got weights {weights.name!r}, which is not a file; set `weights` to a local file")
    try:
        stored = torch.load(weights, map_location="cpu", weights_only=True)
        used = {key: value for key, value in stored.items() if not key.startswith(without)}
        # Older files lack `num_batches_tracked`, which is tolerated below.
        missing, surplus = network.load_state_dict(used, strict=False)
    except Exception as error:
        raise ValueError(
            f"got weights {weights.name!r} that cannot be loaded ({type(error).__name__}), expected torchvision's own; "
            "set `weights`"
        ) from None
    new = [key for key in missing if not key.endswith("num_batches_tracked")]
    if surplus or any(not key.startswith(without) for key in new):
        raise ValueError(
            f"got weights {weights.name!r} with {len(surplus)} others and without {len(new)} of the network's, "
            "expected all but the last layer's; set `weights` or `name`"
        )
    loaded = [key for key in used if key not in surplus]
    return WeightAccount(
        source=weights.name,
        loaded=tuple(loaded),
        new=tuple(missing),
        dropped=tuple(key for key in stored if key not in used),
    )
