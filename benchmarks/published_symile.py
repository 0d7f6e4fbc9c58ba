"""Symile with all negatives as its paper's algorithm says it, for comparison: every product of two modalities is built,
and each anchor has a matrix of logits of its own, [N, N^2].
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def published_symile(x: Tensor, y: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """The mean over anchors of the cross-entropy of ``scale * x (y * z)`` with the own product as target."""
    return (_anchor(x, y, z, scale) + _anchor(y, x, z, scale) + _anchor(z, x, y, scale)) / 3


def _anchor(x: Tensor, y: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """Products of y with z rolled by each number of rows; unrolled ones come first, so that i is i's positive."""
    products = torch.cat([y * z.roll(shift, dims=0) for shift in range(len(z))])
    return F.cross_entropy(scale * x @ products.T, torch.arange(len(x)))
