"""Decoded row of one study."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Row:
    """Values of the configured columns of one study, in their order.

    Attributes:
        values: numeric columns in their own units; NaN where missing.
        levels: categorical columns, 1 for the first known level; 0 where missing or unknown.
        facts: share of observed cells, and counts of cells that were not understood.
        unused: names in the source that match no configured column.
        sources: name in the source, by configured column.
    """

    values: Float[np.ndarray, " C"]
    levels: Int[np.ndarray, " K"]
    facts: Mapping[str, float | str]
    unused: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
