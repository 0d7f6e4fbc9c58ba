"""Reference implementation of Symile with all negatives, after the algorithm of the paper.

It builds every product of two modalities, and a matrix of logits [N, N^2] for each anchor modality.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def published_symile(x: Tensor, y: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """Return the mean over anchors of the cross-entropy of ``scale * x (y * z)``, with target i for row i."""
    return (_anchor(x, y, z, scale) + _anchor(y, x, z, scale) + _anchor(z, x, y, scale)) / 3


def _anchor(x: Tensor, y: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """Return the loss of an anchor; products with the unshifted z come first, so that i is the target of row i."""
    products = torch.cat([y * z.roll(shift, dims=0) for shift in range(len(z))])
    return F.cross_entropy(scale * x @ products.T, torch.arange(len(x)))
