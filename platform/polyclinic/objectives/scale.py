"""The learned temperature of an objective."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


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
