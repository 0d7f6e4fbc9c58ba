"""Order strategies for the training studies of an epoch, and their sampler."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from torch.utils.data import Sampler

from polyclinic.cohort import Study
from polyclinic.cohort.cohort import file_of
from polyclinic.data.dataset import SampleIndex
from polyclinic.modality import Source
from polyclinic.system.names import refuse_unknown

SUBSETS = "modalities"


class EpochOrder(NamedTuple):
    """Studies in the order of an epoch.

    Attributes:
        studies: indices into the training studies.
        repeats: earlier uses of the same study in this epoch.
    """

    studies: Int64[np.ndarray, " N"]
    repeats: Int64[np.ndarray, " N"]


class OrderStrategy(ABC):
    """Draws the order of the training studies in an epoch. It is the same on every rank; ranks take turns in it."""

    @abstractmethod
    def draw(self, studies: Sequence[Study], *, global_batch_size: int, rng: np.random.Generator) -> EpochOrder:
        """Draw an order of length N, the number of studies.

        Args:
            studies: all N training studies.
            global_batch_size: studies per step, over all ranks.
            rng: generator that depends only on the seed and the epoch.

        Raises:
            ValueError: a setting does not fit the studies.
        """


class OrderedSampler(Sampler[SampleIndex]):
    """Yields the sample indices of one rank's share of a drawn order; all shares have the same length.

    Args:
        order: strategy that draws the order.
        studies: all training studies.
        batch_size: studies per step and rank.
        seed: seed of the draws, the same on every rank.
        rank: index of this process.
        world: number of processes.
        views: consecutive samples of each study; a repeated study gets new views.
    """

    def __init__(
        self,
        *,
        order: OrderStrategy,
        studies: Sequence[Study],
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        views: int,
    ) -> None:
        self._order, self._studies, self._global_batch_size = order, studies, batch_size * world
        self._seed, self._rank, self._world, self._views = seed, rank, world, views
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the trainer calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._views * (len(self._studies) // self._world)

    def __iter__(self) -> Iterator[SampleIndex]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = self._order.draw(self._studies, global_batch_size=self._global_batch_size, rng=rng)
        mine = slice(self._rank, len(self._studies) // self._world * self._world, self._world)
        for study, repeat in zip(order.studies[mine].tolist(), order.repeats[mine].tolist(), strict=True):
            for view in range(self._views):
                yield self._epoch, study, repeat * self._views + view


class StratifiedOrder(OrderStrategy):
    """Spreads the strata evenly over an epoch: each step contains each stratum's share, to within one study.

    In a plain shuffle, a step may contain few studies of a small cohort or none, and likewise few complete studies for
    an objective over all modalities. Studies of a stratum come in random order. A stratum with a larger share than it
    has studies repeats them in that order, with new augmentations; one with a smaller share omits some in each epoch.
    If a step's share is larger than the stratum, the step contains a study twice, which a contrastive task accepts
    only with ``same: study``.

    Args:
        by: group column, such as the cohort of origin, or ``modalities`` for the subset that a study has.
        shares: share of each stratum in every step, in any unit; as in the training studies unless set. Subsets are
            named in alphabetical order, such as ``ecg+report``, or ``none``.
    """

    def __init__(self, *, by: str, shares: dict[str, float] | None = None) -> None:
        if shares is not None and (not shares or min(shares.values()) < 0 or not sum(shares.values())):
            raise ValueError(f"got shares {shares}, expected numbers of 0 or more and not all 0; set `shares`")
        self.by, self.shares = by, shares

    def draw(self, studies: Sequence[Study], *, global_batch_size: int, rng: np.random.Generator) -> EpochOrder:
        """Draw the epoch; ``global_batch_size`` has no effect, as any section of the order is stratified."""
        strata = self._strata(studies)
        counts = _apportion(self._weights(strata), len(studies))
        positions, drawn, repeats = [], [], []
        for stratum, count in counts.items():
            members = rng.permutation(strata[stratum])
            turn = np.arange(count)
            # Evenly spaced from a random start: any section contains its share, to within one study.
            positions.append((turn + rng.random()) / max(1, count))
            drawn.append(members[turn % len(members)])
            repeats.append(turn // len(members))
        order = np.argsort(np.concatenate(positions), kind="stable")
        return EpochOrder(np.concatenate(drawn)[order], np.concatenate(repeats)[order])

    def _strata(self, studies: Sequence[Study]) -> dict[str, Int64[np.ndarray, " _"]]:
        """Return the indices of the studies of each stratum, by name."""
        if self.by != SUBSETS and any(self.by not in study.groups for study in studies):
            groups = sorted({name for study in studies for name in study.groups})
            refuse_unknown("stratum", [self.by], [SUBSETS, *groups], "set `by` of the order")
        names = np.array([self._stratum(study) for study in studies])
        return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}

    def _stratum(self, study: Study) -> str:
        return "+".join(sorted(study.sources)) or "none" if self.by == SUBSETS else study.groups[self.by]

    def _weights(self, strata: Mapping[str, Int64[np.ndarray, " _"]]) -> dict[str, float]:
        if self.shares is None:
            return {stratum: float(len(members)) for stratum, members in strata.items()}
        if self.shares.keys() != strata.keys():
            raise ValueError(
                f"got shares of {sorted(self.shares)}, expected a share for each stratum of the training studies, "
                f"{sorted(strata)}; set `shares`, 0 to omit a stratum"
            )
        return {stratum: self.shares[stratum] for stratum in strata}


def _apportion(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Return integers in proportion to weights that sum to a total, by largest remainders."""
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda key: counts[key] - exact[key])[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


class LengthBucketOrder(OrderStrategy):
    """Groups studies of similar length into steps, in a random order of steps.

    This reduces padding, and gives the ranks similar work, as they take turns in a step from short to long. The length
    is that of the source: characters of a text, bytes of a file. A study without the modality gets a random place. As
    the negatives of a study then have about its length, the contrast is harder; a wider ``window`` makes lengths more
    similar, and 1 is an ordinary shuffle.

    Args:
        modality: modality whose sources are compared.
        window: number of steps within which studies are sorted.
    """

    def __init__(self, *, modality: str, window: int = 50) -> None:
        if window < 1:
            raise ValueError(f"got window {window}, expected at least 1; set `window`")
        self.modality, self.window = modality, window

    def draw(self, studies: Sequence[Study], *, global_batch_size: int, rng: np.random.Generator) -> EpochOrder:
        """Shuffle, sort within windows, and shuffle the steps; an incomplete last step stays last."""
        lengths = self._lengths(studies, rng)
        order = rng.permutation(len(studies))
        full = len(order) // global_batch_size * global_batch_size
        in_steps, size = order[:full], self.window * global_batch_size
        windows = np.split(in_steps, range(size, full, size))
        sorted_windows = [window[np.argsort(lengths[window], kind="stable")] for window in windows]
        steps = rng.permutation(np.concatenate(sorted_windows).reshape(-1, global_batch_size))
        indices = np.concatenate([steps.reshape(-1), order[full:]]).astype(np.int64)
        return EpochOrder(indices, np.zeros(len(indices), dtype=np.int64))

    def _lengths(self, studies: Sequence[Study], rng: np.random.Generator) -> Float[np.ndarray, " N"]:
        lengths = np.array(
            [_length(study.sources[self.modality]) if self.modality in study.sources else np.nan for study in studies],
            dtype=np.float64,
        )
        absent = np.isnan(lengths)
        if absent.all():
            available = sorted({name for study in studies for name in study.sources})
            refuse_unknown(
                "modality", [self.modality], available, "set `modality` of the order to one of the training studies"
            )
        # The length of a random other study; otherwise studies without the modality would share steps.
        lengths[absent] = rng.choice(lengths[~absent], size=int(absent.sum()))
        return lengths


def _length(source: Source) -> float:
    if isinstance(source, str):
        return float(len(source))
    file = file_of(source)
    try:
        return float(Path(file).stat().st_size) if file is not None else 0.0
    except OSError:
        # A broken source; reading it reports the error.
        return 0.0
