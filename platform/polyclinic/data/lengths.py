"""Steps of studies whose texts or recordings are about equally long."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from polyclinic.cohort import Study
from polyclinic.cohort.cohort import file_of
from polyclinic.data.mixing import Order, Picks
from polyclinic.modality import Source


class ByLength(Order):
    """Puts studies of about equal length into a step, in a random order of steps.

    Less is padded, and the ranks of a step, which take turns in it from short to long, have equally much to do. Length
    is that of the source: characters of a text, bytes of a file. A study that lacks the modality goes anywhere. The
    negatives of a study are then about as long as it is, which makes the contrast harder; the wider ``window``, the
    more alike, and 1 is an ordinary shuffle.

    Args:
        modality: whose sources are compared.
        window: steps among which studies are sorted.
    """

    def __init__(self, *, modality: str, window: int = 50) -> None:
        if window < 1:
            raise ValueError(f"got window {window}, expected at least 1; set `window`")
        self.modality, self.window = modality, window

    def draw(self, studies: Sequence[Study], *, together: int, rng: np.random.Generator) -> Picks:
        """Shuffle, sort within windows, and shuffle the steps; what fills no step comes last."""
        lengths = self._lengths(studies, rng)
        order = rng.permutation(len(studies))
        whole = len(order) // together * together
        chosen, size = order[:whole], self.window * together
        steps = [part[np.argsort(lengths[part], kind="stable")] for part in np.split(chosen, range(size, whole, size))]
        shuffled = rng.permutation(np.concatenate(steps).reshape(-1, together))
        picked = np.concatenate([shuffled.reshape(-1), order[whole:]]).astype(np.int64)
        return Picks(picked, np.zeros(len(picked), dtype=np.int64))

    def _lengths(self, studies: Sequence[Study], rng: np.random.Generator) -> Float[np.ndarray, " N"]:
        found = [
            _length(study.sources[self.modality]) if self.modality in study.sources else np.nan for study in studies
        ]
        lengths = np.array(found, dtype=np.float64)
        absent = np.isnan(lengths)
        if absent.all():
            known = sorted({name for study in studies for name in study.sources})
            raise ValueError(f"got `modality: {self.modality}`, which no training study has; they have {known}; set it")
        # As long as any other study: those that lack the modality would else share their steps.
        lengths[absent] = rng.choice(lengths[~absent], size=int(absent.sum()))
        return lengths


def _length(source: Source) -> float:
    if isinstance(source, str):
        return float(len(source))
    file = file_of(source)
    try:
        return float(Path(file).stat().st_size) if file is not None else 0.0
    except OSError:
        # It is broken, which whoever reads it will say.
        return 0.0
