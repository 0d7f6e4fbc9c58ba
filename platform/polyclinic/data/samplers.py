"""Orders of the studies of an epoch, and the samplers that draw them."""

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

SUBSETS = "modalities"


class EpochOrder(NamedTuple):
    """Studies in the order of an epoch.

    Attributes:
        studies: their places among the training studies.
        repeats: how often this epoch has taken the same study before.
    """

    studies: Int64[np.ndarray, " N"]
    repeats: Int64[np.ndarray, " N"]


class OrderStrategy(ABC):
    """Draws the order in which an epoch takes the training studies: the same on every rank, which take turns in it."""

    @abstractmethod
    def draw(self, studies: Sequence[Study], *, global_batch_size: int, rng: np.random.Generator) -> EpochOrder:
        """Draw as many picks as there are studies.

        Args:
            studies: all N that are trained on.
            together: studies in a step of all ranks.
            rng: of the seed and the epoch alone.

        Raises:
            ValueError: a setting that does not fit the studies.
        """


class OrderedSampler(Sampler[SampleIndex]):
    """Gives each rank its turns of an epoch in a drawn order, as places; all ranks take equally many.

    Args:
        order: how to draw it.
        studies: all that are trained on.
        batch_size: of a rank.
        seed: of the draws, the same on every rank.
        rank: this process.
        world: number of processes.
        views: how often each study comes, one view after the other; a repeated study has views of its own.
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
        self._order, self._studies, self._together = order, studies, batch_size * world
        self._seed, self._rank, self._world, self._views = seed, rank, world, views
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._views * (len(self._studies) // self._world)

    def __iter__(self) -> Iterator[SampleIndex]:
        rng = np.random.default_rng([self._seed, self._epoch])
        picks = self._order.draw(self._studies, global_batch_size=self._together, rng=rng)
        mine = slice(self._rank, len(self._studies) // self._world * self._world, self._world)
        for study, repeat in zip(picks.studies[mine].tolist(), picks.repeats[mine].tolist(), strict=True):
            for view in range(self._views):
                yield self._epoch, study, repeat * self._views + view


class StratifiedOrder(OrderStrategy):
    """Spreads kinds of studies evenly, so that each step holds of each kind what its share is, to within one study.

    Without it a step may hold a handful of a small cohort's studies or none, and an objective over all modalities as
    many complete ones. The studies of a kind come in a random order; one that is asked for more often than it has
    studies goes through them again in that order, each time with another augmentation, and of one that is asked for
    less the epoch leaves some out. A step that asks for more of a kind than there are holds a study twice, which a
    contrastive task takes with ``same: study`` alone.

    Args:
        by: a group column, such as the cohort that a study came from, or ``modalities`` for the subset it has.
        shares: of each kind in every step, in any unit; as the training studies have them unless set. Subsets are
            named like ``ecg+report``, in alphabetical order, and ``none``.
    """

    def __init__(self, *, by: str, shares: dict[str, float] | None = None) -> None:
        if shares is not None and (not shares or min(shares.values()) < 0 or not sum(shares.values())):
            raise ValueError(f"got shares {shares}, expected numbers of 0 or more and not all 0; set `shares`")
        self.by, self.shares = by, shares

    def draw(self, studies: Sequence[Study], *, global_batch_size: int, rng: np.random.Generator) -> EpochOrder:
        """Draw the epoch; ``global_batch_size`` does not matter, as any stretch of it is mixed."""
        kinds = self._kinds(studies)
        numbers = _apportion(self._wanted(kinds), len(studies))
        places, taken, repeats = [], [], []
        for kind, number in numbers.items():
            members = rng.permutation(kinds[kind])
            turn = np.arange(number)
            # Evenly spaced from a random start: any stretch holds its share to within one.
            places.append((turn + rng.random()) / max(1, number))
            taken.append(members[turn % len(members)])
            repeats.append(turn // len(members))
        order = np.argsort(np.concatenate(places), kind="stable")
        return EpochOrder(np.concatenate(taken)[order], np.concatenate(repeats)[order])

    def _kinds(self, studies: Sequence[Study]) -> dict[str, Int64[np.ndarray, " _"]]:
        """Which studies are of each kind, in the order of their names."""
        if self.by != SUBSETS and any(self.by not in study.groups for study in studies):
            known = sorted({name for study in studies for name in study.groups})
            raise ValueError(f"got `by: {self.by}`, expected `{SUBSETS}` or one of the cohort's groups {known}; set it")
        names = np.array([self._kind(study) for study in studies])
        return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}

    def _kind(self, study: Study) -> str:
        return "+".join(sorted(study.sources)) or "none" if self.by == SUBSETS else study.groups[self.by]

    def _wanted(self, kinds: Mapping[str, Int64[np.ndarray, " _"]]) -> dict[str, float]:
        if self.shares is None:
            return {kind: float(len(members)) for kind, members in kinds.items()}
        if self.shares.keys() != kinds.keys():
            raise ValueError(
                f"got shares of {sorted(self.shares)}, expected one of each kind of training study, {sorted(kinds)}; "
                "set `shares`, 0 for what is to be left out"
            )
        return {kind: self.shares[kind] for kind in kinds}


def _apportion(wanted: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers in proportion that sum to a total, by largest remainders."""
    exact = {kind: total * value / sum(wanted.values()) for kind, value in wanted.items()}
    numbers = {kind: int(value) for kind, value in exact.items()}
    for kind in sorted(exact, key=lambda one: numbers[one] - exact[one])[: total - sum(numbers.values())]:
        numbers[kind] += 1
    return numbers


class LengthBucketOrder(OrderStrategy):
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

    def draw(self, studies: Sequence[Study], *, global_batch_size: int, rng: np.random.Generator) -> EpochOrder:
        """Shuffle, sort within windows, and shuffle the steps; what fills no step comes last."""
        lengths = self._lengths(studies, rng)
        order = rng.permutation(len(studies))
        whole = len(order) // global_batch_size * global_batch_size
        chosen, size = order[:whole], self.window * global_batch_size
        steps = [part[np.argsort(lengths[part], kind="stable")] for part in np.split(chosen, range(size, whole, size))]
        shuffled = rng.permutation(np.concatenate(steps).reshape(-1, global_batch_size))
        picked = np.concatenate([shuffled.reshape(-1), order[whole:]]).astype(np.int64)
        return EpochOrder(picked, np.zeros(len(picked), dtype=np.int64))

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
