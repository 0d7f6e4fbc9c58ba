"""From an encoder's width to the shared embedding space."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Projection(nn.Module):
    """BatchNorm, then a linear map or a two-layer perceptron (Chen et al. 2020, section 4.2).

    The studies of a fresh encoder look almost alike; BatchNorm brings out what differs between them, without which
    the first half of a short training is lost. Embeddings then start around ``neutral`` with about unit deviation.
    For a product of modalities the neutral value is one: every interaction between modalities, of any order, is in
    the score from the start at a size that gradients can feel. Around zero, a product of three starts where its
    gradient vanishes.

    Args:
        width: encoder width D.
        embedding: shared width d.
        hidden: width between two layers; 0 for one linear map.
        neutral: initial bias of the last layer.
    """

    def __init__(self, *, width: int, embedding: int, hidden: int = 0, neutral: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, momentum=0.05)
        last = nn.Linear(hidden or width, embedding)
        nn.init.normal_(last.weight, std=last.in_features**-0.5)
        nn.init.constant_(last.bias, neutral)
        first = [nn.Linear(width, hidden), nn.GELU()] if hidden else []
        self.layers = nn.Sequential(*first, last)

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B d"]:
        """Project; normalisation of the embedding belongs to the objective."""
        projected: Tensor = self.layers(self._normalised(pooled))
        return projected

    def _normalised(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        norm = self.norm
        if len(pooled) > 1:
            return norm(pooled)
        # The statistics of a single study are no statistics: use those learned so far.
        return F.batch_norm(pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False)
