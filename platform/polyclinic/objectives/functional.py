"""Shared functions of the objectives: normalisations, InfoNCE, diagnostics, and the learned scale."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.objectives.embedding_batch import Groups, same_group

_EPSILON = 1e-6


def l2(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Scale every row to unit length."""
    return F.normalize(x, dim=-1, eps=_EPSILON)


def rms(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Scale every row to unit root mean square.

    The mean over d of a product of modalities is then within [-1, 1] for two, and near 1 for any number that agree.
    """
    return x / x.square().mean(dim=-1, keepdim=True).clamp_min(_EPSILON**2).sqrt()


def layer(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Shift every row to zero mean and scale it to unit deviation (Ba et al. 2016), without learned parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=_EPSILON**2)


def none(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Return the vectors unchanged, for encoders that end in a normalisation."""
    return x


NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {"rms": rms, "l2": l2, "layer": layer, "none": none}


def info_nce(logits: Float[Tensor, "n n"], groups: Groups | None = None) -> Float[Tensor, ""]:
    """Return the mean of the cross-entropies of the diagonal, over rows and over columns.

    Source: Oord et al. 2018, equation 4; Radford et al. 2021, figure 3.

    Args:
        logits: logits of row i and column j.
        groups: group of each study; pairs of different studies in one group are masked.
    """
    if groups is not None:
        logits = logits.masked_fill(same_group(groups), -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def modality_gap(x: Float[Tensor, "N d"], y: Float[Tensor, "M d"]) -> Float[Tensor, ""]:
    """Return the distance between the means of two modalities' unit vectors (Liang et al. 2022, section 2)."""
    return (l2(x).mean(dim=0) - l2(y).mean(dim=0)).norm()


def alignment(x: Float[Tensor, "N d"], y: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """Return the mean squared distance of each study's unit vectors (Wang and Isola 2020, section 4.1, alpha 2)."""
    return (l2(x) - l2(y)).square().sum(dim=1).mean()


def uniformity(x: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """Return ``log mean_{i != j} exp(-2 |x_i - x_j|^2)`` of unit vectors (Wang and Isola 2020, section 4.1, t 2)."""
    unit = l2(x)
    squared = 2 - 2 * unit @ unit.T
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    return (-2 * squared[other]).exp().mean().log()


def cross_uniformity(x: Float[Tensor, "N d"], y: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """Return the ``uniformity`` between the vectors of different studies in two modalities."""
    squared = 2 - 2 * l2(x) @ l2(y).T
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    return (-2 * squared[other]).exp().mean().log()


def effective_rank(x: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """Return the exponential of the entropy of the normalised singular values (Roy and Vetterli 2007).

    Vectors are centred first. The rank is 1 if all vectors are on a line or equal, and d if they fill the space.
    """
    unit = l2(x)
    values = torch.linalg.svdvals(unit - unit.mean(dim=0))
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp()


class Scale(nn.Module):
    """A learned positive factor on the logits, parametrised by its logarithm and clamped.

    Args:
        initial: initial value.
        largest: upper bound, so that logits cannot overflow.
        learnable: whether the factor is trained.

    Raises:
        ValueError: ``0 < initial <= largest`` does not hold.
    """

    def __init__(self, *, initial: float, largest: float, learnable: bool = True) -> None:
        super().__init__()
        if not 0 < initial <= largest:
            raise ValueError(
                f"got initial_scale {initial} with max_scale {largest}; expected 0 < initial_scale <= max_scale"
            )
        self.largest = largest
        self.log = nn.Parameter(torch.tensor(initial).log(), requires_grad=learnable)

    def forward(self) -> Float[Tensor, ""]:
        """Return the current factor."""
        return self.log.exp().clamp(max=self.largest)
