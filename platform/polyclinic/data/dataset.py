"""Studies of one split as samples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from polyclinic.cohort import Study
from polyclinic.data.batch import BrokenSource, Sample
from polyclinic.data.cache import PreparedModality
from polyclinic.modality import Item, Modality, UnreadableSource

SampleIndex = tuple[int, int, int]
"""Epoch, index and view of a sample: with them, augmentation is the same in any worker, rank or resumed run."""


class StudyDataset(Dataset):
    """Reads, prepares and, for training, augments the modalities of a study.

    Args:
        studies: of one split.
        modalities: fitted plugins; other modalities of the cohort are left unread.
        prepared: items already prepared, by modality; what is not among them is read from its source.
        augment: whether to vary items randomly.
        seed: of the augmentation.
    """

    def __init__(
        self,
        *,
        studies: Sequence[Study],
        modalities: Mapping[str, Modality],
        prepared: Mapping[str, PreparedModality],
        augment: bool,
        seed: int,
    ) -> None:
        self._studies, self._modalities, self._prepared = studies, modalities, prepared
        self._augment, self._seed = augment, seed
        study_ids = [study.study_id for study in studies]
        self._places = {name: one.places(study_ids) for name, one in prepared.items()}

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, place: SampleIndex) -> Sample:
        epoch, index, view = place
        study = self._studies[index]
        items: dict[str, Item] = {}
        broken: list[BrokenSource] = []
        for number, (name, modality) in enumerate(self._modalities.items()):
            if name not in study.sources:
                continue
            try:
                item = self._item(index, name, modality)
            except UnreadableSource as reason:
                broken.append(BrokenSource(study.study_id, name, str(reason)))
                continue
            if self._augment:
                item = modality.augment(item, np.random.default_rng([self._seed, epoch, index, number, view]))
            items[name] = item
        return Sample(
            study_id=study.study_id,
            patient_id=study.patient_id,
            items=items,
            labels=study.labels,
            broken=tuple(broken),
        )

    def _item(self, index: int, name: str, modality: Modality) -> Item:
        if name in self._prepared:
            stored = self._prepared[name].item(int(self._places[name][index]))
            if stored is not None:
                return stored
        return modality.prepare(modality.read(self._studies[index].sources[name]))


class StudySampler(Sampler[SampleIndex]):
    """Gives each rank its share of the studies, as places.

    Training shuffles by epoch and drops what does not divide by the ranks, so that all ranks take equally many
    steps; otherwise every study is seen exactly once, and ranks may differ by one.

    Args:
        length: number of studies N.
        shuffle: whether this is for training.
        seed: of the shuffling, the same on every rank.
        rank: this process.
        world: number of processes.
        views: how often each study comes, one view after the other.
    """

    def __init__(self, *, length: int, shuffle: bool, seed: int, rank: int, world: int, views: int = 1) -> None:
        self._length, self._shuffle, self._seed, self._views = length, shuffle, seed, views
        self._rank, self._world = rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._views * self._studies()

    def __iter__(self) -> Iterator[SampleIndex]:
        order = np.arange(self._length)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(self._length)
        mine = order[self._rank :: self._world][: self._studies()]
        return ((self._epoch, int(index), view) for index in mine for view in range(self._views))

    def _studies(self) -> int:
        if self._shuffle:
            return self._length // self._world
        return len(range(self._rank, self._length, self._world))


class StudyBatches(BatchSampler):
    """Batches of places, from the batch on at which training stands: what was trained on is not read again.

    Args:
        sampler: of places, in the order of its epoch.
        batch_size: places per batch.
        drop_last: whether an incomplete last batch is left out.
        start: batches of this epoch that are done; asked when the first batch is.
    """

    def __init__(
        self, sampler: Sampler[SampleIndex], *, batch_size: int, drop_last: bool, start: Callable[[], int]
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self._start = start

    def __iter__(self) -> Iterator[list[Any]]:
        return islice(super().__iter__(), self._start(), None)


class StudyLoader(DataLoader):
    """A loader whose workers start with the first batch that is taken, not with the iterator.

    Lightning makes the iterator before it knows the epoch and the batch at which a resumed run goes on, and before
    it reads the checkpoint where a schedule asks for the number of steps.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._once_asked()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: where an epoch goes on follows from the trainer's own count of batches, which is saved anyway."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to take up; that this exists tells Lightning that the loader can go on in the middle."""

    def _once_asked(self) -> Iterator[Any]:
        yield from super().__iter__()
