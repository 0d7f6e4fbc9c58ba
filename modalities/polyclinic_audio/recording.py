"""Decoded recording of one study."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MAX_SAMPLES = 120_000_000
"""Limit of samples over all channels, against decompression bombs: ten minutes of 96 kHz stereo."""


@dataclass(frozen=True)
class Recording:
    """Mono samples of a recording.

    Attributes:
        samples: mean of all channels, relative to digital full scale.
        rate: sampling rate of the file in Hz.
        facts: format, length, channels and levels, for ``describe``.
    """

    samples: Float[np.ndarray, " N"]
    rate: int
    facts: Mapping[str, float | str]
