"""The Lightning data module: loaders for the splits of a cohort."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Sampler

from polyclinic.cohort import SPLITS, Cohort, Study, Target, adapt_modalities, read_cohort, readable_raws
from polyclinic.data.batch import Batch, collate
from polyclinic.data.cache import PreparedModality, prepare_modality
from polyclinic.data.dataset import (
    SampleIndex,
    StudyBatches,
    StudyDataset,
    StudyLoader,
    StudySampler,
    import_without_wandb,
)  # fmt: skip
from polyclinic.data.labels import LabelPolicy, patient_fraction, target_record
from polyclinic.data.quarantine import Quarantine
from polyclinic.data.samplers import OrderedSampler, OrderStrategy
from polyclinic.modality import Modality, settings
from polyclinic.system.names import refuse_unknown

MAX_SURVEYED_STUDIES = 256
AUTO: Final = "auto"
_MAX_BATCH_SIZE, _MIN_BATCH_SIZE, _MIN_STEPS = 64, 16, 8


class CohortDataModule(L.LightningDataModule):
    """Loads the studies of a cohort for a task.

    Args:
        cohort: path of a ``cohort.yaml``.
        modalities: plugins by the name of their modality in the cohort. Modalities are configured only here; the
            model is linked to the same objects.
        batch_size: largest number of studies per step and rank. Unless set, it is 64 over all ranks, and less for a
            small cohort: the largest power of two from 16 with which an epoch has eight steps.
        num_workers: loader processes per rank.
        prepared: folder for prepared items, which cohorts, runs and ranks may share; None for no cache. With ``auto``
            the command line sets the folder ``prepared`` beside the runs, and there is no cache outside of it.
        augment: whether training items are augmented at random.
        views: random views of each training study in a batch, side by side; a task with ``same: study`` treats them
            as one group.
        order: order of the training studies in an epoch (``StratifiedOrder``, ``LengthBucketOrder``); a shuffle
            unless set.
        max_broken_share: largest share of broken sources with which a run continues.
        labels: label columns to use, in this order; all of the cohort's unless set.
        label_policy: meaning of uncertain and blank labels.
        label_fraction: share of the training patients to train on: the same patients in every run, and a smaller
            share is a subset of a larger one.
        predict_split: split that ``predict`` uses.
        fold: number of the fold that is the test split, in a cohort with folds.
        seed: seed of shuffling and augmentation; linked to ``seed_everything`` by the command line.

    Raises:
        ValueError: there is no modality, the batch size is below one, or several views are set without augmentation.
    """

    def __init__(
        self,
        *,
        cohort: Path | str,
        modalities: dict[str, Modality],
        batch_size: int | None = None,
        num_workers: int = 0,
        prepared: Path | str | None = AUTO,
        augment: bool = True,
        views: int = 1,
        order: OrderStrategy | None = None,
        max_broken_share: float = 0.05,
        labels: list[str] | None = None,
        label_policy: LabelPolicy | None = None,
        label_fraction: float = 1.0,
        predict_split: str = "test",
        fold: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not modalities:
            raise ValueError("got no modalities; set `data.modalities`, such as {xray: {class_path: XRay}}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"got batch_size {batch_size}, expected at least 1; set `data.batch_size`")
        if views < 1 or (views > 1 and not augment):
            raise ValueError(
                f"got views {views} with augment {augment}, expected 1, or more with augmentation; set `data.views`"
            )
        self.modalities = modalities
        self.quarantine = Quarantine(max_share=max_broken_share)
        self.facts: dict[str, float] = {}
        self._path, self._batch_size, self._num_workers = Path(cohort), batch_size, num_workers
        self.prepared_folder = None if prepared is None or str(prepared) == AUTO else Path(prepared)
        self._augment, self._seed, self._fold = augment, seed, fold
        self._predict_split, self._views, self._order = predict_split, views, order
        self.label_policy = label_policy or LabelPolicy()
        self._labels, self._label_fraction = labels, label_fraction
        self._cohort: Cohort | None = None
        self._prepared: dict[str, PreparedModality] = {}
        self._adapted: set[str] = set()
        self._fitted: set[str] = set()
        self._training_studies: int | None = None

    @property
    def cohort(self) -> Cohort:
        """The validated cohort, read on first use.

        Raises:
            ValueError: the cohort is invalid (see ``read_cohort``) or lacks a configured modality.
        """
        if self._cohort is None:
            cohort = read_cohort(self._path, fold=self._fold)
            remedy = "set `data.modalities`, or add it to the cohort file"
            refuse_unknown("modality", self.modalities, cohort.modalities, remedy)
            self._cohort = cohort
        return self._cohort

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns in use."""
        return tuple(self.cohort.labels[column] for column in self._label_columns)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The label columns in use, in the order of ``Batch.labels``, with the mean and deviation of quantities."""
        chosen = [(column, self.cohort.targets[column]) for column in self._label_columns]
        return tuple(
            self._standardised(column, target) if target.kind == "quantity" else target for column, target in chosen
        )

    def studies(self, split: str, *, training: bool = False) -> list[Study]:
        """Return the studies of a split, with the labels in use after the label policy.

        Args:
            split: one of ``train``, ``val``, ``test``.
            training: whether the studies are for training: soft labels remain, and ``label_fraction`` applies.
        """
        columns = self._label_columns
        studies = [
            replace(study, labels=tuple(study.labels[column] for column in columns))
            for study in self.cohort.split(split)
        ]
        if training and self._label_fraction < 1:
            mask = patient_fraction([study.patient_id for study in studies], self._label_fraction)
            studies = [study for study, keep in zip(studies, mask, strict=True) if keep]
        return self.label_policy.apply(studies, self.targets, training=training)

    def _standardised(self, column: int, target: Target) -> Target:
        values = np.array([study.labels[column] for study in self.cohort.split("train")])
        values = values[~np.isnan(values)]
        return replace(target, center=float(values.mean()), scale=float(values.std())) if len(values) else target

    @property
    def _label_columns(self) -> list[int]:
        available = self.cohort.labels
        names = available if self._labels is None else self._labels
        refuse_unknown("label", names, available, "set `data.labels` to labels of the cohort, or add it there")
        return [available.index(name) for name in names]

    @property
    def content_index_folder(self) -> Path | None:
        """The folder of prepared items if it exists, for checks that must not write before they pass."""
        return self.prepared_folder if self.prepared_folder is not None and self.prepared_folder.is_dir() else None

    @property
    def training_studies(self) -> int:
        """Number of studies that training uses, over all ranks."""
        if self._training_studies is None:
            self._training_studies = len(self.studies("train", training=True))
        return self._training_studies

    @property
    def batch_size(self) -> int:
        """Largest number of studies per step and rank."""
        if self._batch_size is not None:
            return self._batch_size
        fitting = 1 << max(1, self.training_studies // _MIN_STEPS).bit_length() - 1
        return max(1, min(max(fitting, _MIN_BATCH_SIZE), _MAX_BATCH_SIZE) // self._ranks[1])

    @property
    def _ranks(self) -> tuple[int, int]:
        """Rank of this process, and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def refuse_order(self) -> None:
        """Refuse an ``order`` that does not fit the training studies.

        Raises:
            ValueError: a setting of the order does not fit; see ``OrderStrategy.draw``.
        """
        if self._order is not None:
            studies = self.studies("train", training=True)
            self._order.draw(studies, global_batch_size=self.batch_size, rng=np.random.default_rng(self._seed))

    def training_labels(self) -> Float[np.ndarray, "N C"]:
        """Return the labels of the training studies, soft ones included; NaN where unknown."""
        studies = self.studies("train", training=True)
        return np.array([study.labels for study in studies], dtype=np.float64).reshape(len(studies), len(self.labels))

    def refuse_unknown_labels(self) -> None:
        """Refuse labels in use that have no known value in the training split.

        Raises:
            ValueError: a label is unknown in all training studies; the message also counts its cells that ``values``
                does not list.
        """
        values = self.training_labels()
        for target, column in zip(self.targets, values.T, strict=False):
            if np.isnan(column).all():
                unlisted = sum(self.cohort.unnamed.get(target.name, {}).values())
                detail = f"; {unlisted} cells are not listed in `labels.{target.name}.values`" if unlisted else ""
                raise ValueError(
                    f"label {target.name!r} is unknown in all {len(values)} training studies, so it cannot be "
                    f"learned{detail}; correct its column in the cohort file, or remove it from `data.labels`"
                )

    def label_warnings(self) -> tuple[str, ...]:
        """Return a warning per label in use with cells that are unknown because ``values`` does not list them."""
        counts = {name: self.cohort.unnamed.get(name, {}) for name in self.labels}
        return tuple(
            f"{sum(cells.values())} cells of label {name!r} are not listed in `labels.{name}.values` and count as "
            "unknown; `polyclinic cohort check` lists them"
            for name, cells in counts.items()
            if cells
        )

    def setup(self, stage: str) -> None:
        """Fit the modalities on the training split, unless their state was loaded, and prepare the items."""
        self._fit()
        if stage == "fit":
            self.facts = self._survey()
        self._prepare()

    def state_dict(self) -> dict[str, Any]:
        """Return the settings and fitted states of the modalities, and their cohort, for the checkpoint."""
        return {
            "settings": self.settings(),
            "modalities": {name: modality.state() for name, modality in self.modalities.items()},
            "fingerprint": self.cohort.fingerprint,
            "studies": {split: len(self.cohort.split(split)) for split in SPLITS},
            "labels": list(self.labels),
            "targets": [target_record(target) for target in self.targets],
        }

    def settings(self) -> dict[str, dict[str, str]]:
        """Return the settings of each modality, as text."""
        return {
            name: {key: str(value) for key, value in settings(modality).items()}
            for name, modality in self.modalities.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the fitted states from a checkpoint."""
        self.adopt({name: state_dict["modalities"][name] for name in self.modalities})

    def adopt(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Load the fitted states of some modalities, instead of fitting them.

        Raises:
            ValueError: a state does not match the settings of its modality.
        """
        for name, state in states.items():
            self.modalities[name].load_state(state)
            self._fitted.add(name)
            self._prepared.pop(name, None)

    def adapt(self) -> dict[str, Modality]:
        """Let the modalities derive their unset settings from the cohort, unless their state was loaded; report them.

        Returns:
            The modalities, whose default encoders now have their final size.

        Raises:
            ValueError: the cohort is invalid, or a modality cannot derive a setting from it.
        """
        unset = {
            name: modality for name, modality in self.modalities.items() if name not in self._fitted | self._adapted
        }
        if unset:
            for message in adapt_modalities(self.cohort, unset):
                rank_zero_info(message)
            self._adapted |= unset.keys()
        return self.modalities

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, augmented batches of the training split; see ``StudyBatches``.

        In a resumed run, the first epoch starts after the last batch before the checkpoint.
        """
        return self.loader("train", train=True, start=self._batches_done)

    def val_dataloader(self) -> DataLoader:
        """Return the batches of the validation split, in order."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        """Return the batches of the test split, in order."""
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Return the batches of ``predict_split``, in order."""
        return self.loader(self._predict_split)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Count the broken sources of a batch that the trainer is about to use."""
        seen = sum(int(rows.sum()) for rows in batch.present.values()) + len(batch.broken)
        self.quarantine.note(seen=seen, broken=batch.broken)
        return batch

    def loader(self, split: str, *, train: bool = False, start: Callable[[], int] = int) -> DataLoader:
        """Return the batches of one split: in order, or shuffled and augmented for training.

        Args:
            split: name of the split.
            train: whether to shuffle and augment.
            start: number of batches to skip at the start of a training epoch; none unless given.
        """
        studies = self.studies(split, training=train)
        if not studies and train:
            raise ValueError("the cohort has no training studies; correct its `split`")
        self._prepare()
        dataset = StudyDataset(
            studies=studies,
            modalities=self.modalities,
            prepared=dict(self._prepared),
            augment=train and self._augment,
            seed=self._seed,
        )
        (rank, world), batch_size = self._ranks, self.batch_size
        views = self._views if train else 1
        sampler_args = {"seed": self._seed, "rank": rank, "world": world, "views": views}
        sampler: Sampler[SampleIndex]
        if train and self._order is not None:
            sampler = OrderedSampler(order=self._order, studies=studies, batch_size=batch_size, **sampler_args)
        else:
            sampler = StudySampler(length=len(studies), shuffle=train, **sampler_args)
        make_loader = partial(
            StudyLoader if train else DataLoader,
            dataset,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            collate_fn=partial(collate, modalities=self.modalities),
            worker_init_fn=import_without_wandb,
            # A loader draws a seed each time it starts, and a resumed run starts it at other times. With a separate
            # generator this leaves the global random state unchanged.
            generator=torch.Generator().manual_seed(self._seed),
        )
        if not train:
            return make_loader(sampler=sampler, batch_size=batch_size)
        batches = StudyBatches(
            sampler, batch_size=batch_size, views=views, whole=self._order is not None, start=start
        )  # fmt: skip
        return make_loader(batch_sampler=batches)

    def plain_batches(self, split: str) -> DataLoader:
        """Return the studies of a split for training, of all ranks, once, shuffled by the seed and not augmented."""
        studies = self.studies(split, training=True)
        self._prepare()
        dataset = StudyDataset(
            studies=studies, modalities=self.modalities, prepared=dict(self._prepared), augment=False, seed=self._seed
        )
        return DataLoader(
            dataset,
            sampler=StudySampler(length=len(studies), shuffle=True, seed=self._seed, rank=0, world=1),
            batch_size=_MAX_BATCH_SIZE,
            num_workers=self._num_workers,
            collate_fn=partial(collate, modalities=self.modalities),
            worker_init_fn=import_without_wandb,
            generator=torch.Generator().manual_seed(self._seed),
        )

    def _batches_done(self) -> int:
        """Return the number of batches of this epoch that are done; nonzero only in a resumed run."""
        trainer = self.trainer
        return trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer and trainer.training else 0

    def _fit(self) -> None:
        studies = self.cohort.split("train")
        self.adapt()
        for name, modality in self.modalities.items():
            if name not in self._fitted:
                modality.fit(readable_raws(studies, name, modality))
                self._fitted.add(name)

    def _survey(self) -> dict[str, float]:
        """Average the facts of a random sample of the training sources, such as the share of truncated reports."""
        studies = self.cohort.split("train")
        chosen = np.random.default_rng(self._seed).permutation(len(studies))[:MAX_SURVEYED_STUDIES]
        facts: dict[str, float] = {}
        for name, modality in self.modalities.items():
            raws = readable_raws([studies[index] for index in sorted(chosen)], name, modality)
            facts |= {f"{name}/{fact}": mean for fact, mean in mean_facts(modality, raws).items()}
        return facts

    def _prepare(self) -> None:
        """Find or prepare the items of each modality; again after a modality has loaded another state."""
        for name, modality in self.modalities.items():
            if self.prepared_folder is not None and name not in self._prepared:
                self._prepared[name] = prepare_modality(
                    self.prepared_folder,
                    name=name,
                    modality=modality,
                    studies=self.cohort.studies,
                    workers=max(self._num_workers, os.cpu_count() or 1),
                )


def mean_facts(modality: Modality, raws: Iterator[Any]) -> Mapping[str, float]:
    """Average the numeric facts that ``describe`` returns for a plugin's sources."""
    by_fact: dict[str, list[float]] = {}
    for raw in raws:
        for fact, value in modality.describe(raw).items():
            if isinstance(value, float):
                by_fact.setdefault(fact, []).append(value)
    return {fact: float(np.mean(values)) for fact, values in by_fact.items()}
