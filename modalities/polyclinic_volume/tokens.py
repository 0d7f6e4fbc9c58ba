"""Tokenize a volume into blocks of voxels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyclinic.nn import PatchReconstruction, Tokenizer, Tokens, sine_positions

_RATIO = 0.75

Sides = tuple[int, int, int]


def block_positions(grid: Sides, width: int) -> Float[Tensor, "1 T D"]:
    """Return fixed positions of a grid of blocks: a third of the width for each axis, and zeros for the rest."""
    part = 2 * (width // 6)
    axes = [
        sine_positions(count, part, slowest=max(2, count)).reshape(
            [count if axis == other else 1 for other in range(3)] + [part]
        )
        for axis, count in enumerate(grid)
    ]
    joined = torch.cat([axis.expand(*grid, part) for axis in axes], dim=-1)
    return F.pad(joined.flatten(0, 2), (0, width - 3 * part))[None]


def to_blocks(volume: Float[Tensor, "B C X Y Z"], patch: int) -> Float[Tensor, "B T P"]:
    """Cut a volume into cubes, the last axis fastest; each has its channels one after the other."""
    blocks = volume.unflatten(4, (-1, patch)).unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    return blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)


def from_blocks(blocks: Float[Tensor, "B T P"], *, grid: Sides, patch: int) -> Float[Tensor, "B C X Y Z"]:
    """Join cubes to a volume, the inverse of ``to_blocks``."""
    cubes = blocks.unflatten(1, grid).unflatten(4, (-1, patch, patch, patch))
    return cubes.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(2, 3)


class VolumeReconstruction(PatchReconstruction):
    """Reconstruction of cubes with fixed positions.

    Args:
        width: width W of the decoder.
        channels: number of channels.
        size: sides of the volume in voxels.
        patch: side of a cube in voxels.
        normalised: standardise each cube of the target by its mean and deviation.
    """

    positions: Float[Tensor, "1 T W"]

    def __init__(self, *, width: int, channels: int, size: Sides, patch: int, normalised: bool) -> None:
        super().__init__(width=width, values=channels * patch**3, ratio=_RATIO, normalised=normalised)
        self._channels, self._size, self._patch = channels, size, patch
        self._grid = (size[0] // patch, size[1] // patch, size[2] // patch)
        self.register_buffer("positions", block_positions(self._grid, width), persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Number each cube separately, so that each is hidden alone."""
        return torch.arange(self.positions.shape[1], device=inputs["volume"].device)[None]

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return the positions in the grid."""
        return self.positions

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Cut the volume into cubes."""
        return to_blocks(inputs["volume"], self._patch)

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put the cubes back into a volume."""
        return {**inputs, "volume": from_blocks(patches, grid=self._grid, patch=self._patch)}

    def zero_inputs(self, count: int) -> dict[str, Tensor]:
        """Return volumes of zeros."""
        return {"volume": self.positions.new_zeros(count, self._channels, *self._size)}


class BlockTokenizer(Tokenizer):
    """One token per cube, embedded linearly, with fixed three-dimensional positions.

    Args:
        channels: number of channels.
        size: sides of the volume in voxels.
        patch: side of a cube in voxels; divides the sides.
        width: token width D.
        normalised_targets: standardise each cube of the target in masked pretraining.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, channels: int, size: Sides, patch: int, width: int, normalised_targets: bool = True) -> None:
        super().__init__()
        self._channels, self._size, self._patch, self._normalised = channels, size, patch, normalised_targets
        self.embed = nn.Linear(channels * patch**3, width)
        grid = (size[0] // patch, size[1] // patch, size[2] // patch)
        self.register_buffer("positions", block_positions(grid, width), persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``inputs["volume"]`` of shape [B, C, X, Y, Z]."""
        values = self.embed(to_blocks(inputs["volume"], self._patch))
        return Tokens(values, self.positions, torch.zeros(values.shape[:2], dtype=torch.bool, device=values.device))

    def reconstruction(self, width: int) -> VolumeReconstruction:
        """Build the reconstruction for masked pretraining with a decoder of the given width."""
        return VolumeReconstruction(
            width=width,
            channels=self._channels,
            size=self._size,
            patch=self._patch,
            normalised=self._normalised,
        )
