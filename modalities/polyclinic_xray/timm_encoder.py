"""An X-ray encoder from any timm image backbone, with local weights only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor

from polyclinic.nn import Encoded, Encoder, WeightAccount


class TimmEncoder(Encoder):
    """A timm backbone for one-channel radiographs.

    Args:
        name: timm model name, such as ``resnet50`` or ``vit_base_patch16_224``.
        weights: local ``.safetensors`` or weights-only ``.pth`` file in timm's layout; the default is random weights.
            timm sums the first convolution over colours to adapt it to one channel.
        size: side of the image, for backbones with fixed positions; omitted for convolutional backbones.

    Raises:
        ValueError: the name is unknown, the pooled width differs from that of the feature map, or the weights file
            does not exist or lacks parameters.
    """

    def __init__(self, *, name: str, weights: Path | None = None, size: int | None = None) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(f"got timm model {name!r}, expected one of timm.list_models(); set `name`")
        if weights is not None and not weights.is_file():
            raise ValueError(f"got weights {weights.name!r}, which is not a file; set `weights` to a local file")
        self.backbone, self.account = _build(name, weights, size)
        self.width = int(self.backbone.num_features)
        pooled = int(getattr(self.backbone, "head_hidden_size", self.width))
        if pooled != self.width:
            raise ValueError(f"got {name!r} with tokens of width {self.width}, pooled {pooled}; set another `name`")

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings without the weights file."""
        return {**settings, "weights": None}

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["image"]`` of shape [B, 1, size, size]; tokens are the final feature map."""
        features = self.backbone.forward_features(inputs["image"])
        tokens = features
        if features.ndim == 4:
            # Swin and similar models keep channels last.
            last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
            tokens = features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)
            # The pooled features are computed from the tokens, so that their gradient reaches the tokens.
            rows = tokens if last else tokens.transpose(1, 2)
            features = rows.unflatten(1 if last else 2, features.shape[1:3] if last else features.shape[2:])
        pooled = self.backbone.forward_head(features, pre_logits=True)
        return Encoded(tokens, pooled, torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


def _build(name: str, weights: Path | None, size: int | None) -> tuple[Any, WeightAccount | None]:
    fixed = {"img_size": size} if size else {}
    if weights is None:
        return timm.create_model(name, in_chans=1, num_classes=0, **fixed), None
    try:
        stored = load_state_dict(str(weights)).keys()
        overlay = {"file": str(weights), "custom_load": False}
        backbone = timm.create_model(
            name, in_chans=1, num_classes=0, pretrained=True, pretrained_cfg_overlay=overlay, **fixed
        )
    except Exception as error:
        raise ValueError(
            f"got weights {weights.name!r} that cannot be loaded into {name!r} ({type(error).__name__}), expected a "
            "file in timm's layout; set `weights`"
        ) from None
    # timm drops the classifier and then loads leniently: without this check, a wrong file would leave random weights.
    missing = [key for key, _ in backbone.named_parameters() if key not in stored]
    if missing:
        raise ValueError(
            f"got weights {weights.name!r} without {len(missing)} of the parameters of {name!r} (first "
            f"{missing[0]!r}), expected all of them; set `weights` or `name`"
        )
    names = list(backbone.state_dict())
    account = WeightAccount(
        source=weights.name,
        loaded=tuple(key for key in names if key in stored),
        new=tuple(key for key in names if key not in stored),
        dropped=tuple(key for key in stored if key not in set(names)),
    )
    return backbone, account
