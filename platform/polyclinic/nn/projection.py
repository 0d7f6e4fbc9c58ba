"""From an encoder's width to the shared embedding space, or to a head."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class StudyNorm(nn.BatchNorm1d):
    """BatchNorm over studies that also takes a single one while training.

    Args:
        width: of the vectors, D.

    Attributes:
        outputs: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, momentum=0.05)
        self.outputs = width

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Normalise each feature over the studies."""
        if len(pooled) > 1:
            return super().forward(pooled)
        # The statistics of a single study are no statistics: use those learned so far.
        return F.batch_norm(pooled, self.running_mean, self.running_var, self.weight, self.bias, training=False)


class Unprojected(nn.Identity):
    """In place of a projection, for encoders that end in the shared width themselves.

    Args:
        width: of the vectors, d.

    Attributes:
        outputs: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.outputs = width


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

    Attributes:
        outputs: d.
    """

    def __init__(self, *, width: int, embedding: int, hidden: int = 0, neutral: float = 0.0) -> None:
        super().__init__()
        self.norm = StudyNorm(width)
        self.outputs = embedding
        last = nn.Linear(hidden or width, embedding)
        nn.init.normal_(last.weight, std=last.in_features**-0.5)
        nn.init.constant_(last.bias, neutral)
        first = [nn.Linear(width, hidden), nn.GELU()] if hidden else []
        self.layers = nn.Sequential(*first, last)

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B d"]:
        """Project; normalisation of the embedding belongs to the objective."""
        projected: Tensor = self.layers(self.norm(pooled))
        return projected
