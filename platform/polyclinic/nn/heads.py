"""Heads from the width of an encoder to the shared embedding space or to a fusion."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.distributed import stack_with_gradient, world_size

_MOMENTUM = 0.05


class StudyNorm(nn.BatchNorm1d):
    """BatchNorm over the studies of all ranks, which accepts a single study, or none, in training.

    Ranks normalise as one process with all studies would. All ranks must call this equally often, without rows if they
    have none (as in ``encode_batch``); otherwise the others wait.

    Args:
        width: width of the vectors, D.

    Attributes:
        outputs: width of the result, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, momentum=_MOMENTUM)
        self.outputs = width

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Normalise each feature over the studies."""
        if self.training and world_size() > 1:
            return self._over_ranks(pooled)
        if len(pooled) > 1:
            return super().forward(pooled)
        return self._by_running_statistics(pooled)

    def _by_running_statistics(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Normalise by the running statistics, as the variance of a single study is not defined."""
        return F.batch_norm(pooled, self.running_mean, self.running_var, self.weight, self.bias, training=False)

    def _over_ranks(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Normalise by the merged statistics of all ranks.

        The counts, means and squared deviations of the ranks are merged (Chan et al. 1983); plain sums of squares
        would lose precision by cancellation.
        """
        exact = pooled.to(torch.promote_types(pooled.dtype, torch.float32))
        mean = exact.sum(dim=0) / max(1, len(exact))
        local = torch.cat([exact.new_tensor([len(exact)]), mean, torch.square(exact - mean).sum(dim=0)])
        counts, means, squares = stack_with_gradient(local).split([1, self.outputs, self.outputs], dim=1)
        total = counts.sum()
        if total <= 1:
            return self._by_running_statistics(pooled)
        center = (counts * means).sum(dim=0) / total
        squared = (squares + counts * torch.square(means - center)).sum(dim=0)
        self._update(center.detach(), squared.detach() / (total - 1))
        normal = (exact - center) * torch.rsqrt(squared / total + self.eps)
        return torch.addcmul(self.bias, normal, self.weight).to(pooled.dtype)

    @torch.no_grad()
    def _update(self, mean: Float[Tensor, " D"], variance: Float[Tensor, " D"]) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, _MOMENTUM)
        self.running_var.lerp_(variance, _MOMENTUM)
        self.num_batches_tracked += 1


class IdentityHead(nn.Identity):
    """The identity in place of a projection, for encoders that already have the shared width.

    Args:
        width: width of the vectors, d.

    Attributes:
        outputs: width of the result, d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.outputs = width


class Projection(nn.Module):
    """BatchNorm, then a linear map or a two-layer perceptron (Chen et al. 2020, section 4.2).

    The vectors of an untrained encoder are almost equal; BatchNorm amplifies their differences, without which the
    first half of a short training is lost. Embeddings then start around ``neutral`` with about unit deviation. For a
    product of modalities the neutral value is one: interactions of every order contribute to the initial score and
    have sizeable gradients. Around zero, the gradient of a product of three vanishes.

    Args:
        width: encoder width D.
        embedding: shared width d.
        hidden: hidden width; 0 for one linear map.
        neutral: initial bias of the last layer.

    Attributes:
        outputs: width of the result, d.
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
        """Project to the embedding space; the objective normalises the embeddings."""
        projected: Tensor = self.layers(self.norm(pooled))
        return projected
