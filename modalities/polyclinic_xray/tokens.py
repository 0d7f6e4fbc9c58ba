"""Tokenize a radiograph into patches, embedded linearly or by a small convolutional stem."""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyclinic.nn import PatchReconstruction, Tokenizer, Tokens, grid_positions, stem_strides

_RATIO = 0.75


def positions_of(*, grid: int, width: int, class_token: bool) -> Float[Tensor, "1 T D"]:
    """Return fixed positions of the patches of a grid; zeros for a class token before them."""
    return F.pad(grid_positions(grid, grid, width, slowest=grid), (0, 0, int(class_token), 0))[None]


class ImageReconstruction(PatchReconstruction):
    """Reconstruction of square patches with fixed two-dimensional positions.

    Args:
        width: width W of the decoder.
        size: side of the image in pixels.
        patch: side of a patch in pixels.
        class_token: True if a class token precedes the patches; it is never hidden.
        normalised: standardise each patch of the target by its mean and deviation.
    """

    positions: Float[Tensor, "1 T W"]

    def __init__(self, *, width: int, size: int, patch: int, class_token: bool, normalised: bool) -> None:
        super().__init__(width=width, values=patch**2, ratio=_RATIO, normalised=normalised)
        self._grid, self._patch, self._ahead = size // patch, patch, int(class_token)
        positions = positions_of(grid=self._grid, width=width, class_token=class_token)
        self.register_buffer("positions", positions, persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Number each patch separately, so that each is hidden alone; -1 for the class token, which is never hidden."""
        number = torch.arange(self._ahead + self._grid**2, device=inputs["image"].device)
        return number.masked_fill(number < self._ahead, -1)[None]

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return the positions in the grid."""
        return self.positions

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Cut the image into patches, row by row; the class token has no pixels and is NaN."""
        sides = (self._grid, self._patch)
        blocks = inputs["image"][:, 0].unflatten(2, sides).unflatten(1, sides)
        patches = blocks.transpose(2, 3).flatten(3).flatten(1, 2)
        return F.pad(patches, (0, 0, self._ahead, 0), value=torch.nan)

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put the patches back into an image."""
        blocks = patches[:, self._ahead :].unflatten(2, (self._patch,) * 2).unflatten(1, (self._grid,) * 2)
        return {**inputs, "image": blocks.transpose(2, 3).flatten(3).flatten(1, 2)[:, None]}

    def zero_inputs(self, count: int) -> dict[str, Tensor]:
        """Return images of zeros."""
        return {"image": self.positions.new_zeros(count, 1, *(self._grid * self._patch,) * 2)}


Stem: TypeAlias = Literal["linear", "conv"]
_GROUPS = 4


class PatchTokenizer(Tokenizer):
    """One token per square patch, with fixed two-dimensional positions.

    Args:
        size: side of the image in pixels.
        patch: side of a patch in pixels; divides ``size``.
        width: token width D; a multiple of 32 for the convolutional stem.
        stem: ``linear`` embeds each patch separately (Dosovitskiy et al. 2021); ``conv`` uses strided 3x3
            convolutions (Xiao et al. 2021) and learns faster from few studies, but its patches overlap, so that they
            cannot be masked.
        class_token: add a learned token before the patches, as in pretrained vision transformers.
        normalised_targets: standardise each patch of the target in masked pretraining.

    Raises:
        ValueError: the stem is unknown or does not support a class token, or ``patch`` has a prime factor above 3,
            which a 3x3 convolution cannot stride over without gaps.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        width: int,
        stem: Stem = "linear",
        class_token: bool = False,
        normalised_targets: bool = True,
    ) -> None:
        super().__init__()
        if stem not in ("linear", "conv"):
            raise ValueError(f"got stem {stem!r}, expected 'linear' or 'conv'; set `stem`")
        if class_token and stem == "conv":
            raise ValueError("got a class token with stem 'conv', expected stem 'linear'; set `stem`")
        self._size, self._patch, self._normalised = size, patch, normalised_targets
        self._linear = linear = stem == "linear"
        self.embed = nn.Conv2d(1, width, kernel_size=patch, stride=patch) if linear else _conv_stem(patch, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if class_token else None
        grid = size // patch
        positions = (
            positions_of(grid=grid, width=width, class_token=class_token)
            if linear
            else grid_positions(grid, grid, width)[None]
        )
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``inputs["image"]`` of shape [B, 1, size, size]."""
        values = self.embed(inputs["image"]).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            values = torch.cat([self.class_token.expand(len(values), -1, -1), values], dim=1)
        return Tokens(values, self.positions, torch.zeros(values.shape[:2], dtype=torch.bool, device=values.device))

    def reconstruction(self, width: int) -> ImageReconstruction:
        """Build the reconstruction for masked pretraining with a decoder of a given width.

        Raises:
            ValueError: the patches overlap.
        """
        if not self._linear:
            raise ValueError("got stem 'conv', whose patches show each other; set `stem: linear`")
        return ImageReconstruction(
            width=width,
            size=self._size,
            patch=self._patch,
            class_token=self.class_token is not None,
            normalised=self._normalised,
        )


def _conv_stem(patch: int, width: int) -> nn.Sequential:
    """Build 3x3 convolutions whose strides multiply to ``patch`` and whose channels double up to ``width``.

    GroupNorm replaces the paper's BatchNorm, so that the tokens of a study do not depend on its batch.
    """
    strides = stem_strides(patch, (2, 3))
    channels = [1, *(max(width >> (len(strides) - 1 - stage), 2 * _GROUPS) for stage in range(len(strides)))]
    layers: list[nn.Module] = []
    for stride, before, after in zip(strides, channels[:-1], channels[1:], strict=True):
        padding = 1 if stride == 2 else 0
        layers += [nn.Conv2d(before, after, 3, stride, padding, bias=False), nn.GroupNorm(_GROUPS, after), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], width, 1))
