"""Positions of tokens, and the strides of the convolutions that make them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def sine_positions(length: int, width: int, *, slowest: float = 10_000.0) -> Float[Tensor, "T D"]:
    """Embed 0..length-1: half the width holds sines, half cosines, of geometrically spaced frequencies.

    Args:
        length: number of positions T.
        width: of the embeddings, D.
        slowest: how many times slower the last frequency turns than the first, at one radian a position. Short
            sequences are told apart better where it is their length.

    Raises:
        ValueError: ``width`` is odd.
    """
    if width % 2:
        raise ValueError(f"got position width {width}, expected an even number; set the encoder's width")
    frequencies = slowest ** -(torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def grid_positions(rows: int, columns: int, width: int, *, slowest: float = 10_000.0) -> Float[Tensor, "T D"]:
    """Embed a grid in row-major order: the first half of the width holds the row, the second the column.

    Args:
        rows: of the grid.
        columns: of the grid.
        width: of the embeddings, D.
        slowest: see ``sine_positions``.

    Raises:
        ValueError: ``width`` is not a multiple of four.
    """
    row = sine_positions(rows, width // 2, slowest=slowest)[:, None].expand(rows, columns, width // 2)
    column = sine_positions(columns, width // 2, slowest=slowest)[None].expand(rows, columns, width // 2)
    return torch.cat([row, column], dim=-1).reshape(rows * columns, width)


def stem_strides(patch: int, allowed: Sequence[int]) -> list[int]:
    """Split a patch into strides, smallest first, whose product it is.

    Args:
        patch: samples or pixels per token.
        allowed: prime strides that the stem's kernel does not skip over, in rising order.

    Raises:
        ValueError: ``patch`` has another prime factor.
    """
    strides, rest = [], patch
    for stride in allowed:
        while rest % stride == 0:
            strides.append(stride)
            rest //= stride
    if rest != 1:
        *first, last = map(str, allowed)
        raise ValueError(
            f"got patch {patch} with the convolutional stem, expected a product of {', '.join(first)} and {last}; "
            "set `patch`"
        )
    return strides
