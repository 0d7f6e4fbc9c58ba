"""Strides of a convolutional stem."""

from collections.abc import Sequence


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
