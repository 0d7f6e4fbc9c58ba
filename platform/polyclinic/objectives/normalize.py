"""Normalisations of an embedding."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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
