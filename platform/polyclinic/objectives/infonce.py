"""InfoNCE over a square matrix of logits."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.studies import Groups, same_group


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
