"""A cohort as train, validation, test and prediction loaders."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Sampler

from polyclinic.cohort import SPLITS, Cohort, Study, Target, adapt_modalities, read_cohort, readable_raws
from polyclinic.data.batch import Batch, collate
from polyclinic.data.cache import PreparedModality, prepare_modality
from polyclinic.data.dataset import SampleIndex, StudyBatches, StudyDataset, StudyLoader, StudySampler
from polyclinic.data.labels import LabelPolicy, patient_fraction
from polyclinic.data.quarantine import Quarantine
from polyclinic.data.samplers import OrderedSampler, OrderStrategy
from polyclinic.modality import Modality, settings

_SURVEYED = 256


class CohortDataModule(L.LightningDataModule):
    """Feeds a task from a cohort.

    Args:
        cohort: path of a ``cohort.yaml``.
        modalities: the plugins to feed, under the names that the cohort gives them. This is the one place where
            a modality is configured; the model is linked to the same objects.
        batch_size: studies per step and rank.
        num_workers: loader processes per rank.
        prepared: a folder for prepared items, which any cohorts, runs and ranks may share; nothing is kept when
            absent.
        augment: whether training items are varied randomly.
        views: how many random variations of each training study a batch holds, side by side; they belong together
            where the task has ``same: study``.
        order: how to order the training studies of an epoch (``StratifiedOrder``, ``LengthBucketOrder``); shuffled
            unless set.
        max_broken_share: the run fails when more of the sources read are broken.
        labels: label columns to use, in this order; all of the cohort's unless set.
        label_policy: what uncertain and blank labels mean.
        label_fraction: share of the training patients that are trained on, the same ones in every run, and those of a
            smaller share among those of a larger.
        predict_split: which studies ``predict`` gives.
        seed: of shuffling and augmentation; linked to ``seed_everything`` by the command line.

    Raises:
        ValueError: no modality, or a batch size below one.
    """

    def __init__(
        self,
        *,
        cohort: Path,
        modalities: dict[str, Modality],
        batch_size: int = 64,
        num_workers: int = 0,
        prepared: Path | None = None,
        augment: bool = True,
        views: int = 1,
        order: OrderStrategy | None = None,
        max_broken_share: float = 0.05,
        labels: list[str] | None = None,
        label_policy: LabelPolicy | None = None,
        label_fraction: float = 1.0,
        predict_split: str = "test",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not modalities:
            raise ValueError("got no modalities; set `data.modalities`, such as {xray: {class_path: XRay}}")
        if batch_size < 1:
            raise ValueError(f"got batch_size {batch_size}, expected at least 1; set `data.batch_size`")
        if views < 1 or (views > 1 and not augment):
            raise ValueError(
                f"got views {views} with augment {augment}, expected 1, or more with augmentation; set `data.views`"
            )
        self.modalities = modalities
        self.quarantine = Quarantine(max_share=max_broken_share)
        self.facts: dict[str, float] = {}
        self._path, self._batch_size, self._num_workers = cohort, batch_size, num_workers
        self._prepared_folder, self._augment, self._seed = prepared, augment, seed
        self._predict_split, self._views, self._order = predict_split, views, order
        self.label_policy = label_policy or LabelPolicy()
        self._labels, self._label_fraction = labels, label_fraction
        self._cohort: Cohort | None = None
        self._prepared: dict[str, PreparedModality] = {}
        self._fitted: set[str] = set()

    @property
    def cohort(self) -> Cohort:
        """The validated cohort, read on first use.

        Raises:
            ValueError: see ``read_cohort``; or it lacks a configured modality.
        """
        if self._cohort is None:
            cohort = read_cohort(self._path)
            if absent := [name for name in self.modalities if name not in cohort.modalities]:
                raise ValueError(
                    f"the cohort has no modality {absent[0]!r}; it has {list(cohort.modalities)}; "
                    "set `data.modalities`, or name it in the cohort file"
                )
            self._cohort = cohort
        return self._cohort

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns in use."""
        return tuple(self.cohort.labels[place] for place in self._places)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The label columns in use, in the order of ``Batch.labels``, with the mean and deviation of quantities."""
        chosen = [(place, self.cohort.targets[place]) for place in self._places]
        return tuple(self._standardised(place, one) if one.kind == "quantity" else one for place, one in chosen)

    def studies(self, split: str, *, training: bool = False) -> list[Study]:
        """The studies of a split, with the labels in use as the policy reads them.

        Args:
            split: one of ``train``, ``val``, ``test``.
            training: whether they are to be trained on: soft labels stay, and the fraction of patients applies.
        """
        places = self._places
        studies = [
            replace(study, labels=tuple(study.labels[place] for place in places)) for study in self.cohort.split(split)
        ]
        if training and self._label_fraction < 1:
            kept = patient_fraction([study.patient_id for study in studies], self._label_fraction)
            studies = [study for study, keep in zip(studies, kept, strict=True) if keep]
        return self.label_policy.apply(studies, self.targets, training=training)

    def _standardised(self, place: int, target: Target) -> Target:
        values = np.array([study.labels[place] for study in self.cohort.split("train")])
        known = values[~np.isnan(values)]
        return replace(target, center=float(known.mean()), scale=float(known.std())) if len(known) else target

    @property
    def _places(self) -> list[int]:
        known = self.cohort.labels
        names = known if self._labels is None else self._labels
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"got label {unknown[0]!r}, the cohort has {list(known)}; set `data.labels`")
        return [known.index(name) for name in names]

    @property
    def prepared_folder(self) -> Path | None:
        """Where prepared items are kept, and the hashes of the files that were read."""
        return self._prepared_folder

    def refuse_order(self) -> None:
        """Stop where the training studies cannot be taken in the order that is wanted.

        Raises:
            ValueError: see ``OrderStrategy.draw``.
        """
        if self._order is not None:
            studies = self.studies("train", training=True)
            self._order.draw(studies, global_batch_size=self._batch_size, rng=np.random.default_rng(self._seed))

    def refuse_unknown_labels(self) -> None:
        """Stop where a label in use has no known value in the training split.

        Raises:
            ValueError: naming the label, and cells of it that were not understood where there are any.
        """
        values = np.array([study.labels for study in self.studies("train", training=True)], dtype=np.float64)
        for target, column in zip(self.targets, values.T, strict=False):
            if np.isnan(column).all():
                unnamed = sum(self.cohort.unnamed.get(target.name, {}).values())
                also = f"; {unnamed} cells are not named in `labels.{target.name}.values`" if unnamed else ""
                raise ValueError(
                    f"label {target.name!r} is unknown in all {len(values)} training studies, so that nothing can be "
                    f"learned of it{also}; correct its column in the cohort file, or leave it out of `data.labels`"
                )

    def label_warnings(self) -> tuple[str, ...]:
        """Sentences on cells of the labels in use that count as unknown because ``values`` does not name them."""
        counts = {name: self.cohort.unnamed.get(name, {}) for name in self.labels}
        return tuple(
            f"{sum(cells.values())} cells of label {name!r} are not named in `labels.{name}.values` and count as "
            "unknown; `polyclinic cohort check` lists them"
            for name, cells in counts.items()
            if cells
        )

    def setup(self, stage: str) -> None:
        """Fit the modalities on the training split, unless their state was loaded, and prepare items."""
        self._fit()
        if stage == "fit":
            self.facts = self._survey()
        self._prepare()

    def state_dict(self) -> dict[str, Any]:
        """What the modalities learned, under which settings and from which cohort; it travels in the checkpoint."""
        return {
            "settings": self.settings(),
            "modalities": {name: modality.state() for name, modality in self.modalities.items()},
            "fingerprint": self.cohort.fingerprint,
            "studies": {split: len(self.cohort.split(split)) for split in SPLITS},
            "labels": list(self.labels),
        }

    def settings(self) -> dict[str, dict[str, str]]:
        """The settings of each modality, as text."""
        return {
            name: {key: str(value) for key, value in settings(modality).items()}
            for name, modality in self.modalities.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the fitted state of a checkpoint."""
        self.adopt({name: state_dict["modalities"][name] for name in self.modalities})

    def adopt(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what some modalities learned elsewhere, instead of fitting them.

        Raises:
            ValueError: a state that does not fit a modality's settings.
        """
        for name, state in states.items():
            self.modalities[name].load_state(state)
            self._fitted.add(name)
            self._prepared.pop(name, None)

    def train_dataloader(self) -> DataLoader:
        """Shuffled, augmented batches of the training split; an incomplete last batch is dropped.

        In a resumed run the first epoch begins after the last batch that its checkpoint had seen.
        """
        return self.loader("train", train=True, start=self._batches_done)

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation split, in order."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        """Batches of the test split, in order."""
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Batches of ``predict_split``, in order."""
        return self.loader(self._predict_split)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Count what was broken in a batch that the trainer is about to use."""
        seen = sum(int(rows.sum()) for rows in batch.present.values()) + len(batch.broken)
        self.quarantine.note(seen=seen, broken=batch.broken)
        return batch

    def loader(self, split: str, *, train: bool = False, start: Callable[[], int] = int) -> DataLoader:
        """Batches of one split: in order, or for training shuffled and augmented.

        Args:
            split: its name.
            train: whether to shuffle and to augment.
            start: for training, how many batches of the epoch are left out at its beginning; none unless given.
        """
        studies = self.studies(split, training=train)
        if not studies and train:
            raise ValueError("the cohort has no training study; correct its `split`")
        self._prepare()
        dataset = StudyDataset(
            studies=studies,
            modalities=self.modalities,
            prepared=dict(self._prepared),
            augment=train and self._augment,
            seed=self._seed,
        )
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        views = self._views if train else 1
        turns = {"seed": self._seed, "rank": rank, "world": world, "views": views}
        sampler: Sampler[SampleIndex]
        if train and self._order is not None:
            sampler = OrderedSampler(order=self._order, studies=studies, batch_size=self._batch_size, **turns)
        else:
            sampler = StudySampler(length=len(studies), shuffle=train, **turns)
        size = self._batch_size * views
        loading = partial(
            StudyLoader if train else DataLoader,
            dataset,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            collate_fn=partial(collate, modalities=self.modalities),
            # Of its own: a loader draws from it whenever it starts, which a resumed run does at other times.
            generator=torch.Generator().manual_seed(self._seed),
        )
        if not train:
            return loading(sampler=sampler, batch_size=size)
        return loading(
            batch_sampler=StudyBatches(sampler, batch_size=size, drop_last=len(sampler) >= size, start=start)
        )

    def _batches_done(self) -> int:
        """Batches of the epoch that the trainer has been through, which is not zero in a resumed run alone."""
        trainer = self.trainer
        return trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer and trainer.training else 0

    def _fit(self) -> None:
        studies = self.cohort.split("train")
        fresh = {name: modality for name, modality in self.modalities.items() if name not in self._fitted}
        for left_out in adapt_modalities(self.cohort, fresh):
            rank_zero_info(left_out)
        for name, modality in self.modalities.items():
            if name not in self._fitted:
                modality.fit(readable_raws(studies, name, modality))
                self._fitted.add(name)

    def _survey(self) -> dict[str, float]:
        """Mean facts of a random part of the training sources, such as the share of truncated reports."""
        studies = self.cohort.split("train")
        chosen = np.random.default_rng(self._seed).permutation(len(studies))[:_SURVEYED]
        facts: dict[str, float] = {}
        for name, modality in self.modalities.items():
            raws = readable_raws([studies[index] for index in sorted(chosen)], name, modality)
            facts |= {f"{name}/{fact}": mean for fact, mean in mean_facts(modality, raws).items()}
        return facts

    def _prepare(self) -> None:
        """Find or make the items of each modality, again once a modality took over another state."""
        for name, modality in self.modalities.items():
            if self._prepared_folder is not None and name not in self._prepared:
                self._prepared[name] = prepare_modality(
                    self._prepared_folder,
                    name=name,
                    modality=modality,
                    studies=self.cohort.studies,
                    workers=max(self._num_workers, os.cpu_count() or 1),
                )


def mean_facts(modality: Modality, raws: Iterator[Any]) -> Mapping[str, float]:
    """Average the numeric facts that a plugin tells of its sources."""
    told: dict[str, list[float]] = {}
    for raw in raws:
        for fact, value in modality.describe(raw).items():
            if isinstance(value, float):
                told.setdefault(fact, []).append(value)
    return {fact: float(np.mean(values)) for fact, values in told.items()}
