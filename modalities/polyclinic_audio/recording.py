"""One decoded recording, whatever file it came from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MAX_SAMPLES = 120_000_000
"""Samples over all channels above which a file is refused as a decompression bomb: ten minutes of 96 kHz stereo."""


@dataclass(frozen=True)
class Recording:
    """The mean of all channels relative to digital full scale, at the file's own rate in Hz."""

    samples: Float[np.ndarray, " N"]
    rate: int
    facts: Mapping[str, float | str]
