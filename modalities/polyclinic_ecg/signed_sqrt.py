"""Signed square-root scaling of voltages."""

import torch
from jaxtyping import Float
from torch import Tensor

# The P wave is ten times smaller than the QRS complex. A signed square root, which is linear below about this voltage,
# makes both visible; the inverse hyperbolic sine is an alternative that takes ten times as long.
_LINEAR_MILLIVOLTS = 0.1

SPREAD = 0.25
"""Approximate standard deviation of a scaled electrocardiogram."""


def signed_sqrt(millivolts: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return ``v / sqrt(|v| + 0.1)``."""
    return millivolts * torch.rsqrt(millivolts.abs() + _LINEAR_MILLIVOLTS)


def millivolts(root: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Invert ``signed_sqrt``: with r^2 = v^2 / (|v| + c), |v| is the positive root of v^2 - r^2 |v| - c r^2 = 0."""
    square = torch.square(root)
    return torch.sign(root) * (square + torch.sqrt(torch.square(square) + 4 * _LINEAR_MILLIVOLTS * square)) / 2
