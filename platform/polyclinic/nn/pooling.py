"""From tokens to one vector per study."""

from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(tokens: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Average the tokens that are not padding; a row of nothing but padding gives zeros."""
    weight = (~padding).to(tokens.dtype)[:, :, None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)
