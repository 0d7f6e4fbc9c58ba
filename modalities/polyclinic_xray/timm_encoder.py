"""Any timm image backbone as an X-ray encoder, from local weights only."""

from pathlib import Path

import timm
import torch
from torch import Tensor

from polyclinic.nn import Encoded, Encoder


class TimmEncoder(Encoder):
    """A timm backbone on one-channel radiographs.

    Args:
        name: a timm model name, such as ``resnet50`` or ``vit_base_patch16_224``.
        weights: a local ``.safetensors`` or weights-only ``.pth`` file in timm's layout; random when absent.
            timm adapts the first convolution to one channel by summing over colours.
        size: side of the image, for backbones with fixed positions; absent for convolutional ones.

    Raises:
        ValueError: the name is unknown, or the weights file does not exist.
    """

    def __init__(self, *, name: str, weights: Path | None = None, size: int | None = None) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(f"got timm model {name!r}, expected one of timm.list_models(); set `name`")
        if weights is not None and not weights.is_file():
            raise ValueError(f"got weights {weights.name!r}, which is not a file; set `weights` to a local file")
        overlay = {"pretrained_cfg_overlay": {"file": str(weights)}, "pretrained": True} if weights else {}
        fixed = {"img_size": size} if size else {}
        self.backbone = timm.create_model(name, in_chans=1, num_classes=0, **overlay, **fixed)
        self.width = self.backbone.num_features

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["image"]`` of shape [B, 1, size, size]; tokens are the final feature map."""
        features = self.backbone.forward_features(inputs["image"])
        pooled = self.backbone.forward_head(features, pre_logits=True)
        tokens = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
        return Encoded(tokens, pooled, torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
