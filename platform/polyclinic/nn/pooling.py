"""Pooling of tokens to one vector per study."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_SMALLEST_VARIANCE = 1e-4
"""Added to the variance, because the derivative of the square root at zero is infinite."""


def masked_mean(tokens: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Average the tokens that are not padding; a row of padding gives zeros."""
    weight = (~padding).to(tokens.dtype)[:, :, None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)


def token_statistics(tokens: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B 2*D"]:
    """Concatenate the mean and standard deviation of the tokens that are not padding."""
    mean = masked_mean(tokens, padding)
    variance = masked_mean(torch.square(tokens - mean[:, None]), padding)
    return torch.cat([mean, torch.sqrt(variance + _SMALLEST_VARIANCE)], dim=1)


class MeanPooling(nn.Module):
    """Mean of the tokens: a pooling without weights."""

    def forward(self, tokens: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Pool the tokens that are not padding."""
        return masked_mean(tokens, padding)


class StatisticsPooling(nn.Module):
    """A linear map of the tokens' mean and standard deviation (Snyder et al. 2018, "X-vectors", section 2.1).

    The deviation shows what a mean over many tokens hides: an irregular rhythm, an opaque patch, a phrase in a long
    report.

    Args:
        width: width of the tokens and of the result, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * width, width)

    def forward(self, tokens: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Pool the tokens that are not padding."""
        pooled: Tensor = self.mix(token_statistics(tokens, padding))
        return pooled
