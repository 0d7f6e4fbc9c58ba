"""Predictions of simple models: one per modality and label, and a join of the modalities of each study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from polyclinic.cohort import Study, Target
from polyclinic.data import CohortDataModule
from polyclinic.modality import HasBaseline, Modality, UnreadableSource
from polyclinic.system.progress import track
from polyclinic.training.simple_models import Scaled, Simple, fit_simple

TRAINING_SPLITS = ("train", "val")
"""The baseline has no use for a validation split, so that it learns from its studies, too."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One label for a simple model: a finding, a class against the others, a level or a quantity.

    Attributes:
        binary: whether it is a class, whose values are 0 and 1.
        unit: unit of a quantity.
        training: values of the training studies, NaN where unknown.
        tested: values of the test studies, NaN where unknown.
    """

    name: str
    binary: bool
    unit: str
    training: Float[np.ndarray, " M"]
    tested: Float[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True)
class BaselinePredictions:
    """Predictions for the ``N`` test studies.

    Attributes:
        columns: labels of the models.
        by_modality: predictions by modality, then by label; NaN for studies without the modality.
        joined: predictions from the modalities that each study has, by label.
        features: name of the features of each modality.
        left_out: modalities whose plugin has no features for a simple model.
        trained: number of training studies.
        studies: test studies, in the order of the cohort.
    """

    columns: tuple[Column, ...]
    by_modality: Mapping[str, Mapping[str, Float[np.ndarray, " N"]]]
    joined: Mapping[str, Float[np.ndarray, " N"]]
    features: Mapping[str, str]
    left_out: tuple[str, ...]
    trained: int
    studies: Sequence[Study]


def predict_baseline(data: CohortDataModule, split: str, *, seed: int) -> BaselinePredictions:
    """Fit the simple models on the studies of ``train`` and ``val``, and predict those of another split.

    Args:
        data: data module with fitted modalities.
        split: split to predict.
        seed: seed of the folds by which settings are chosen.

    Raises:
        ValueError: the split is empty or a training split, or no modality has features for a simple model.
    """
    if split in TRAINING_SPLITS:
        raise ValueError(f"got split {split!r}, on which the baseline is trained; set `--split test`")
    training = [study for name in TRAINING_SPLITS for study in data.studies(name)]
    tested = data.studies(split)
    if not training or not tested:
        raise ValueError(f"got {len(training)} training studies and {len(tested)} in {split!r}; correct the `split`")
    columns = _columns(training, tested, data.targets)
    patients = [study.patient_id for study in training]
    models: dict[str, dict[str, tuple[Simple, np.ndarray]]] = {}
    features = {}
    for name, modality in data.modalities.items():
        if isinstance(modality, HasBaseline):
            models[name] = _of_modality(name, modality, training, tested, columns, patients, seed)
            features[name] = modality.baseline().name
    if not features:
        raise ValueError(
            f"none of the modalities {list(data.modalities)} has features for a simple model; define `baseline` in a "
            "plugin"
        )
    return BaselinePredictions(
        columns=columns,
        by_modality={
            name: {label: values for label, (_, values) in by_label.items()} for name, by_label in models.items()
        },
        joined={
            column.name: _joined(
                column,
                {name: each[column.name] for name, each in models.items() if column.name in each},
                patients,
                seed,
            )
            for column in columns
        },
        features=features,
        left_out=tuple(name for name in data.modalities if name not in features),
        trained=len(training),
        studies=tested,
    )


def _columns(training: Sequence[Study], tested: Sequence[Study], targets: Sequence[Target]) -> tuple[Column, ...]:
    columns = []
    for place, target in enumerate(targets):
        parts = [np.array([study.labels[place] for study in studies]) for studies in (training, tested)]
        if target.kind == "class":
            for number, value in enumerate(target.names):
                of_class = [np.where(np.isnan(part), np.nan, part == number) for part in parts]
                columns.append(_column(f"{target.name}={value}", True, "", of_class))
        else:
            columns.append(_column(target.name, target.kind == "finding", target.unit, parts))
    return tuple(columns)


def _column(name: str, binary: bool, unit: str, parts: Sequence[np.ndarray]) -> Column:
    return Column(name=name, binary=binary, unit=unit, training=parts[0], tested=parts[1])


def _of_modality(
    name: str,
    modality: HasBaseline,
    training: Sequence[Study],
    tested: Sequence[Study],
    columns: Sequence[Column],
    patients: Sequence[str],
    seed: int,
) -> dict[str, tuple[Simple, np.ndarray]]:
    """Return the model of each label, and its predictions for all test studies, NaN without the modality."""
    assert isinstance(modality, Modality)
    parts = [_read(name, modality, studies) for studies in (training, tested)]
    (rows, raws), (tested_rows, tested_raws) = parts
    if not raws:
        return {}
    baseline = modality.baseline()
    transform = baseline.learn(raws)
    features, tested_features = transform(raws), transform(tested_raws) if tested_raws else None
    if not baseline.trees:
        scaled = Scaled(features)
        features = scaled(features)
        tested_features = None if tested_features is None else scaled(tested_features)
    models = {}
    for column in columns:
        of_rows = [patients[row] for row in rows]
        simple = fit_simple(
            features, column.training[rows], of_rows, binary=column.binary, trees=baseline.trees, seed=seed
        )
        if simple is not None:
            values = np.full(len(tested), np.nan)
            if tested_features is not None:
                values[tested_rows] = simple.predict(tested_features)
            out_of_fold = np.full(len(training), np.nan)
            out_of_fold[rows] = simple.out_of_fold
            models[column.name] = replace(simple, out_of_fold=out_of_fold), values
    return models


def _read(name: str, modality: Modality, studies: Sequence[Study]) -> tuple[list[int], list[Any]]:
    """Decode the sources of a modality; studies without it, and with a broken source, are left out."""
    rows, raws = [], []
    for row, study in enumerate(track(studies, f"reading {name}")):
        if name in study.sources:
            try:
                raws.append(modality.read(study.sources[name]))
            except UnreadableSource:
                continue
            rows.append(row)
    return rows, raws


def _joined(
    column: Column, models: Mapping[str, tuple[Simple, np.ndarray]], patients: Sequence[str], seed: int
) -> Float[np.ndarray, " N"]:
    """Return the predictions of a linear model on those of the modalities, with a flag for each missing one.

    It is trained on predictions for held-out patients (Wolpert 1992, "Stacked generalization").
    """
    known = column.training[~np.isnan(column.training)]
    constant = 0.0 if column.binary or not len(known) else float(known.mean())
    if not models:
        return np.full(len(column.tested), constant)
    if len(models) == 1:
        ((_, values),) = models.values()
        return np.where(np.isnan(values), constant, values)
    training, tested = (
        np.stack([part(simple, values) for simple, values in models.values()], axis=1)
        for part in (lambda simple, _: simple.out_of_fold, lambda _, values: values)
    )
    stacked = [
        np.concatenate([np.where(np.isnan(part), constant, part), np.isnan(part)], axis=1)
        for part in (training, tested)
    ]
    scaled = Scaled(stacked[0])
    join = fit_simple(scaled(stacked[0]), column.training, patients, binary=column.binary, trees=False, seed=seed)
    assert join is not None, "a label with a model of a modality has enough patients for a join"
    return join.predict(scaled(stacked[1]))
