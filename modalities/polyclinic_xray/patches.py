"""What the patches of a radiograph hide from a masked autoencoder (He et al. 2022)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyclinic.nn import PatchReconstruction, grid_positions

_RATIO = 0.75


def positions_of(*, grid: int, width: int, class_token: bool) -> Float[Tensor, "1 T D"]:
    """Fixed positions of the patches, for grids of this size; zeros for a class token ahead of them."""
    return F.pad(grid_positions(grid, grid, width, slowest=grid), (0, 0, int(class_token), 0))[None]


class ImageReconstruction(PatchReconstruction):
    """Square patches, with fixed two-dimensional positions.

    Args:
        width: of the decoder, W.
        size: side of the image in pixels.
        patch: side of a patch.
        class_token: whether a class token stands ahead of the patches; it is never hidden.
        normalised: remove each patch's mean and deviation from its target.
    """

    positions: Float[Tensor, "1 T W"]

    def __init__(self, *, width: int, size: int, patch: int, class_token: bool, normalised: bool) -> None:
        super().__init__(width=width, values=patch**2, ratio=_RATIO, normalised=normalised)
        self._grid, self._patch, self._ahead = size // patch, patch, int(class_token)
        positions = positions_of(grid=self._grid, width=width, class_token=class_token)
        self.register_buffer("positions", positions, persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Every patch by itself, never the class token."""
        number = torch.arange(self._ahead + self._grid**2, device=inputs["image"].device)
        return number.masked_fill(number < self._ahead, -1)[None]

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Positions in the grid."""
        return self.positions

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Row by row, pixels of a patch row by row; NaN for the class token, which stands for no pixel."""
        sides = (self._grid, self._patch)
        blocks = inputs["image"][:, 0].unflatten(2, sides).unflatten(1, sides)
        patches = blocks.transpose(2, 3).flatten(3).flatten(1, 2)
        return F.pad(patches, (0, 0, self._ahead, 0), value=torch.nan)

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put the patches back into an image."""
        blocks = patches[:, self._ahead :].unflatten(2, (self._patch,) * 2).unflatten(1, (self._grid,) * 2)
        return {**inputs, "image": blocks.transpose(2, 3).flatten(3).flatten(1, 2)[:, None]}

    def silent(self, count: int) -> dict[str, Tensor]:
        """An image of zeros."""
        return {"image": self.positions.new_zeros(count, 1, *(self._grid * self._patch,) * 2)}
