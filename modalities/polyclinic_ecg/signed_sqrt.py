"""Voltages on a scale on which neither the P wave nor the QRS complex drowns the other."""

import torch
from jaxtyping import Float
from torch import Tensor

# The P wave is ten times smaller than the QRS complex. A signed root, linear below about this many millivolts, lets
# neither drown the other; the inverse hyperbolic sine does as well and takes ten times as long.
_SMALL_WAVE = 0.1


SPREAD = 0.25
"""About the deviation of a rooted electrocardiogram."""


def rooted(millivolts: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """``v / sqrt(|v| + 0.1)``."""
    return millivolts * torch.rsqrt(millivolts.abs() + _SMALL_WAVE)


def millivolts(root: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The voltage of which this is the root."""
    square = torch.square(root)
    return torch.sign(root) * (square + torch.sqrt(torch.square(square) + 4 * _SMALL_WAVE * square)) / 2
