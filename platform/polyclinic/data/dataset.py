"""The dataset of one split, its sampler and its loader."""

import sys
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
"""Epoch, study and view of a sample. They seed its augmentation, so that no worker, rank or restart changes it."""


class StudyDataset(Dataset):
    """Reads, prepares and, for training, augments the modalities of a study.

    Args:
        studies: studies of one split.
        modalities: fitted plugins by name; other modalities of the cohort are not read.
        prepared: prepared items by modality; a missing item is read from its source.
        augment: whether to augment items at random.
        seed: seed of the augmentation.
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
        self._places = {name: items.places(study_ids) for name, items in prepared.items()}

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
    """Yields the sample indices of one rank's share of the studies.

    In training, each epoch is shuffled and the remainder of N divided by the ranks is dropped, so that all ranks take
    the same number of steps. Otherwise every study is used exactly once, and ranks may differ by one study.

    Args:
        length: number of studies N.
        shuffle: whether the sampler is for training.
        seed: seed of the shuffling, the same on every rank.
        rank: index of this process.
        world: number of processes.
        views: consecutive samples of each study.
    """

    def __init__(self, *, length: int, shuffle: bool, seed: int, rank: int, world: int, views: int = 1) -> None:
        self._length, self._shuffle, self._seed, self._views = length, shuffle, seed, views
        self._rank, self._world = rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the trainer calls this."""
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
    """Batches of sample indices that use every study of the epoch once, in sizes that differ by at most one study.

    A last batch of few studies would give a poor gradient, and dropping it would leave out up to a batch of a small
    cohort in each epoch. Batches that are already done are skipped, so that their studies are not read again.

    Args:
        sampler: sample indices in the order of their epoch.
        batch_size: largest number of studies in a batch.
        views: consecutive samples of each study.
        whole: whether only the last batch may be smaller, for an order that was drawn for batches of ``batch_size``.
        start: function that returns the number of batches done; called when the first batch is requested.
    """

    def __init__(
        self, sampler: Sampler[SampleIndex], *, batch_size: int, views: int, whole: bool, start: Callable[[], int]
    ) -> None:
        super().__init__(sampler, batch_size * views, drop_last=False)  # type: ignore[arg-type]
        self._largest, self._views, self._whole, self._start = batch_size, views, whole, start

    def __len__(self) -> int:
        return -(-self._studies() // self._largest)

    def __iter__(self) -> Iterator[list[Any]]:
        places = iter(self.sampler)
        batches = (list(islice(places, size * self._views)) for size in self._sizes())
        return islice(batches, self._start(), None)

    def _studies(self) -> int:
        return len(self.sampler) // self._views  # type: ignore[arg-type]

    def _sizes(self) -> list[int]:
        studies, batches = self._studies(), len(self)
        if self._whole:
            return [min(self._largest, studies - place * self._largest) for place in range(batches)]
        return [studies // batches + (place < studies % batches) for place in range(batches)]


class StudyLoader(DataLoader):
    """A loader whose workers start at the first batch, not when the iterator is created.

    Lightning creates the iterator before it knows the epoch and the batch at which a run resumes. If a schedule needs
    the number of steps, this is even before it reads the checkpoint.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._start_lazily()

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state; the trainer saves the number of batches done."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing; the method marks the loader as stateful, so that Lightning can resume within an epoch."""

    def _start_lazily(self) -> Iterator[Any]:
        yield from super().__iter__()


def import_without_wandb(worker: int) -> None:
    """Remove the import hook of W&B from a worker: it reports to its service, and fails in a forked process."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("wandb.")]
