"""Position embeddings of tokens, and the strides of convolutional stems."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def sine_positions(length: int, width: int, *, slowest: float = 10_000.0) -> Float[Tensor, "T D"]:
    """Embed positions 0 to length-1 by sines (first half of the width) and cosines of geometric frequencies.

    Args:
        length: number of positions T.
        width: width of the embeddings, D.
        slowest: bound on the ratio of the first frequency, one radian per position, to the last. Positions of short
            sequences differ more if it is about their length.

    Raises:
        ValueError: ``width`` is odd.
    """
    if width % 2:
        raise ValueError(f"got position width {width}, expected an even number; set the encoder's width")
    frequencies = slowest ** -(torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def grid_positions(rows: int, columns: int, width: int, *, slowest: float = 10_000.0) -> Float[Tensor, "T D"]:
    """Embed a grid in row-major order: the row in the first half of the width, the column in the second.

    Args:
        rows: number of rows.
        columns: number of columns.
        width: width of the embeddings, D.
        slowest: range of the frequencies; see ``sine_positions``.

    Raises:
        ValueError: ``width`` is not a multiple of four.
    """
    row = sine_positions(rows, width // 2, slowest=slowest)[:, None].expand(rows, columns, width // 2)
    column = sine_positions(columns, width // 2, slowest=slowest)[None].expand(rows, columns, width // 2)
    return torch.cat([row, column], dim=-1).reshape(rows * columns, width)


def stem_strides(patch: int, allowed: Sequence[int]) -> list[int]:
    """Factorise a patch size into the strides of a stem, smallest first.

    Args:
        patch: samples or pixels per token.
        allowed: prime strides within the kernel size of the stem, in increasing order.

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
