"""Histograms of gradients as the fixed features of a radiograph."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures
from polyclinic_xray.gradients import gradient_histograms


class GradientFeatures(FixedFeatures):
    """Histograms of oriented gradients; see ``gradient_histograms``."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs = len(gradient_histograms(np.zeros((1, 1), dtype=np.float32)))

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of ``inputs["image"]`` [B, 1, H, H]."""
        images = inputs["image"]
        found = np.stack([gradient_histograms(image[0]) for image in images.float().cpu().numpy()])
        return torch.from_numpy(found).to(images)
