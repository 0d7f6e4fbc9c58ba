"""Functions and the temperature that several objectives share."""

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
    """Scale every row to unit root mean square, so that a mean of products over d stays within [-1, 1] for two
    modalities and near 1 for any number of them that agree.
    """
    return x / x.square().mean(dim=-1, keepdim=True).clamp_min(_EPSILON**2).sqrt()


def layer(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Shift every row to zero mean and scale it to unit deviation (Ba et al. 2016), without learned parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=_EPSILON**2)


def none(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Leave the vectors of encoders that end in a normalisation of their own as they are."""
    return x


NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {"rms": rms, "l2": l2, "layer": layer, "none": none}


def info_nce(logits: Float[Tensor, "n n"], groups: Groups | None = None) -> Float[Tensor, ""]:
    """Cross-entropy of the diagonal in each row and each column, halved (Oord et al. 2018, equation 4; Radford et al.
    2021, figure 3).

    Args:
        logits: of row i with column j.
        groups: pairs of one group off the diagonal are left out.
    """
    if groups is not None:
        logits = logits.masked_fill(same_group(groups), -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def modality_gap(x: Float[Tensor, "N d"], y: Float[Tensor, "M d"]) -> Float[Tensor, ""]:
    """Distance between the centres of two modalities' unit vectors (Liang et al. 2022, "Mind the gap", section 2)."""
    return (l2(x).mean(dim=0) - l2(y).mean(dim=0)).norm()


def alignment(x: Float[Tensor, "N d"], y: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """Mean squared distance of the unit vectors of each study (Wang and Isola 2020, section 4.1, alpha 2)."""
    return (l2(x) - l2(y)).square().sum(dim=1).mean()


def uniformity(x: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """``log mean_{i != j} exp(-2 |x_i - x_j|^2)`` over unit vectors (Wang and Isola 2020, section 4.1, t 2)."""
    unit = l2(x)
    squared = 2 - 2 * unit @ unit.T
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    return (-2 * squared[other]).exp().mean().log()


def cross_uniformity(x: Float[Tensor, "N d"], y: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """``uniformity`` between the vectors of different studies in two modalities."""
    squared = 2 - 2 * l2(x) @ l2(y).T
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    return (-2 * squared[other]).exp().mean().log()


def effective_rank(x: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    """Exponential of the entropy of the centred vectors' normalised singular values (Roy and Vetterli 2007).

    One where all vectors lie on a line, d where they fill the space; one, too, where they do not differ.
    """
    unit = l2(x)
    values = torch.linalg.svdvals(unit - unit.mean(dim=0))
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp()


class Scale(nn.Module):
    """A learned positive factor on the logits, kept as its logarithm and clamped.

    Args:
        initial: value at the start.
        largest: upper bound, so that logits cannot overflow.
        learnable: whether it is trained.

    Raises:
        ValueError: not ``0 < initial <= largest``.
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
        """The current factor."""
        return self.log.exp().clamp(max=self.largest)
