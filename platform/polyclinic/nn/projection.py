"""From an encoder's width to the shared embedding space."""

from jaxtyping import Float
from torch import Tensor, nn


class Projection(nn.Module):
    """LayerNorm and a linear map, or a two-layer perceptron (Chen et al. 2020, section 4.2).

    At the start, embeddings scatter around ``neutral`` with about unit deviation. For a product of modalities the
    neutral value is one: a study then starts with every interaction between its modalities in the score, of any
    order, at a size that gradients can feel. Around zero, a product of three starts where its gradient vanishes.

    Args:
        width: encoder width D.
        embedding: shared width d.
        hidden: width between two layers; 0 for one linear map.
        neutral: initial bias of the last layer.
    """

    def __init__(self, *, width: int, embedding: int, hidden: int = 0, neutral: float = 0.0) -> None:
        super().__init__()
        last = nn.Linear(hidden or width, embedding)
        nn.init.normal_(last.weight, std=last.in_features**-0.5)
        nn.init.constant_(last.bias, neutral)
        first = [nn.Linear(width, hidden), nn.GELU()] if hidden else []
        self.layers = nn.Sequential(nn.LayerNorm(width), *first, last)

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B d"]:
        """Project; normalisation belongs to the objective."""
        projected: Tensor = self.layers(pooled)
        return projected
