"""How embeddings lie: gap, alignment, uniformity and effective rank."""

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.normalize import l2


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
