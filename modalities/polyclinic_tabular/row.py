"""One decoded row, whatever source it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Row:
    """The configured columns of one study, in their order.

    Attributes:
        values: numeric columns in their own units; NaN where missing.
        levels: categorical columns, 1 for the first known level; 0 where missing or unknown.
        facts: counts of what was found and not understood.
        unused: names of the source that belong to no configured column.
        sources: name in the source of each column that it has.
    """

    values: Float[np.ndarray, " C"]
    levels: Int[np.ndarray, " K"]
    facts: Mapping[str, float | str]
    unused: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
