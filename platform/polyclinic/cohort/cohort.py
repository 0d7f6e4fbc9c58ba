"""Read the studies of a cohort from its table, validate them and compute the fingerprint."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyclinic.cohort.cells import canonical_id, is_missing_value
from polyclinic.cohort.event_windows import event_windows
from polyclinic.cohort.folds import Folds, category_columns, fold_splits
from polyclinic.cohort.labels import LabelColumn, read_label
from polyclinic.cohort.schema import CohortSpec, Target, read_spec, read_targets, wanted_columns
from polyclinic.cohort.sources import SourceReader
from polyclinic.cohort.table import read_table
from polyclinic.modality import ArrayRow, EventWindow, Modality, Source, UnreadableSource
from polyclinic.system.names import expected_name, refuse_unknown

SPLITS = ("train", "val", "test")
_MAX_NAMED_STUDIES = 5


@dataclass(frozen=True, kw_only=True)
class Study:
    """One row of the table: ids, split, sources by modality, labels (NaN for unknown) and groups."""

    study_id: str
    patient_id: str
    split: str
    sources: Mapping[str, Source]
    labels: tuple[float, ...]
    groups: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A validated cohort.

    Attributes:
        name: name of the cohort's folder.
        studies: studies in the order of the table.
        modalities: names of the modalities, in the order of ``cohort.yaml``.
        targets: targets of the labels, in the order of ``Study.labels``.
        fingerprint: SHA-256 over the specification, every row, and the name and size of every source file.
        population: population in which patient ids are unique; empty where the cohort file does not state one.
        unnamed: cells that ``values`` does not list, by label; see ``LabelColumn``.
        folds: number of folds; 0 where the cohort file has other splits.
        leave_out: group whose values are the folds; empty where they are random.
    """

    name: str
    studies: tuple[Study, ...]
    modalities: tuple[str, ...]
    targets: tuple[Target, ...]
    fingerprint: str
    population: str = ""
    unnamed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    folds: int = 0
    leave_out: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.targets)

    def split(self, name: str) -> tuple[Study, ...]:
        """Return the studies of one split.

        Raises:
            ValueError: ``name`` is not train, val or test.
        """
        refuse_unknown("split", [name], SPLITS, "set `split`")
        return tuple(study for study in self.studies if study.split == name)

    def present_share(self) -> dict[str, float]:
        """Return the share of studies that have each modality."""
        count = Counter(name for study in self.studies for name in study.sources)
        return {name: count[name] / len(self.studies) for name in self.modalities}


def read_cohort(path: str | Path, *, fold: int = 0) -> Cohort:
    """Read and validate ``cohort.yaml`` and its table.

    Args:
        path: path of the cohort file.
        fold: number of the fold that is the test split, in a cohort with folds.

    Raises:
        ValueError: an unknown column, an empty or duplicate study id, a patient in two splits, a label that is
            not a number, a source that does not exist, or a modality that no study has. The message names the studies
            and the setting, never a patient or the path of a source.
    """
    path = Path(path)
    spec = read_spec(path)
    table = read_table(spec)
    _require_columns(spec, table)
    ids = _study_ids(spec, table)
    patients = _patients(spec, table, ids)
    labels = {
        name: read_label(name, entry, table[entry["column"]].tolist(), studies=ids, patients=patients)
        for name, entry in spec.labels.items()
    }
    sources = SourceReader(spec, event_windows(spec, table, ids, patients))
    targets = read_targets(spec.labels)
    splits, folds = _splits(spec, table, patients, ids, labels, targets, fold)
    studies = _studies(spec, table, ids, patients, labels, sources, splits)
    _refuse_duplicates(studies)
    _refuse_shared_patients(studies)
    sources.refuse_missing()
    _refuse_absent_modalities(spec, studies)
    return Cohort(
        name=path.resolve().parent.name,
        studies=studies,
        modalities=tuple(spec.modalities),
        targets=targets,
        fingerprint=_fingerprint(spec, table, studies),
        population=spec.population,
        unnamed={name: label.unnamed for name, label in labels.items() if label.unnamed},
        folds=folds,
        leave_out=spec.split.leave_out if isinstance(spec.split, Folds) else "",
    )


def _require_columns(spec: CohortSpec, table: pd.DataFrame) -> None:
    for setting, columns in wanted_columns(spec).items():
        if unknown := [column for column in columns if column not in table.columns]:
            raise ValueError(
                f"`{setting}` names column {unknown[0]!r}, which {spec.table.name} does not have, "
                f"{expected_name(unknown[0], table.columns)}; correct it in the cohort file"
            )


def _study_ids(spec: CohortSpec, table: pd.DataFrame) -> list[str]:
    ids: list[str] = table[spec.study_id].tolist()
    if "" in ids:
        raise ValueError(
            f"row {table.index[ids.index('')] + 1} of {spec.table.name} has no {spec.study_id}; fill `study_id`"
        )
    return ids


def _studies(
    spec: CohortSpec,
    table: pd.DataFrame,
    ids: Sequence[str],
    patients: Sequence[str],
    labels: Mapping[str, LabelColumn],
    sources: SourceReader,
    splits: Sequence[str],
) -> tuple[Study, ...]:
    numbers = np.array([label.numbers for label in labels.values()]).reshape(len(labels), len(ids)).T
    used = table[list(dict.fromkeys(column for columns in wanted_columns(spec).values() for column in columns))]
    return tuple(
        Study(
            study_id=ids[index],
            patient_id=patients[index],
            split=splits[index],
            sources=sources.read(row, ids[index]),
            labels=tuple(numbers[index].tolist()),
            groups={group: row[group] for group in spec.groups},
        )
        for index, row in enumerate(dict(zip(used.columns, cells, strict=True)) for cells in used.to_numpy())
    )


def _patients(spec: CohortSpec, table: pd.DataFrame, ids: Sequence[str]) -> list[str]:
    patients: list[str] = table[spec.patient_id["column"]].tolist()
    if pattern := spec.patient_id.get("pattern"):
        matches = [re.search(pattern, value) for value in patients]
        patients = [(match.group(1) or "") if match else "" for match in matches]
    if "" in patients:
        raise ValueError(f"study {ids[patients.index('')]!r} has no patient; check `patient_id` in the cohort file")
    for patient, count in Counter(patients).items():
        if count > 1 and is_missing_value(patient):
            studies = [study for study, owner in zip(ids, patients, strict=True) if owner == patient]
            raise ValueError(
                f"{count} studies (such as {studies[:_MAX_NAMED_STUDIES]}) have {patient!r} as patient, which is a "
                "marker for an unknown id and would make them one patient; fill in their ids, or remove these studies "
                "from the table"
            )
    return patients


def _splits(
    spec: CohortSpec,
    table: pd.DataFrame,
    patients: Sequence[str],
    ids: Sequence[str],
    labels: Mapping[str, LabelColumn],
    targets: Sequence[Target],
    fold: int,
) -> tuple[list[str], int]:
    """Return the split of each study, and the number of folds."""
    if isinstance(spec.split, Folds):
        values = {target.name: (target.kind, labels[target.name].numbers.tolist()) for target in targets}
        categories = category_columns(values, {group: table[group].tolist() for group in spec.groups})
        sites = table[spec.split.leave_out].tolist() if spec.split.leave_out else ()
        return fold_splits(patients, categories.reshape(len(ids), -1), spec.split, fold, sites)
    if fold:
        raise ValueError(f"got fold {fold} of a cohort without folds; set `split: {{folds: 5}}`, or `data.fold` to 0")
    if isinstance(spec.split, str):
        splits: list[str] = table[spec.split].tolist()
        for study, split in zip(ids, splits, strict=True):
            if split not in SPLITS:
                raise ValueError(f"study {study!r} has split {split!r}, expected one of {SPLITS}; see `split`")
        return splits, 0
    return [hashed_split(patient, spec.split) for patient in patients], 0


def hashed_split(patient: str, shares: Mapping[str, float]) -> str:
    """Assign a patient by hash, so that a growing cohort never moves a patient to another split."""
    digest = hashlib.sha256(f"{int(shares.get('seed', 0))}:{patient}".encode()).digest()
    place, edge = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for split in SPLITS:
        edge += shares.get(split, 0.0)
        if place < edge:
            return split
    return "train"


def file_of(source: Source) -> Path | None:
    """Return the file that the cohort names as a source; None for inline data."""
    if isinstance(source, ArrayRow | EventWindow):
        return source.file
    return source if isinstance(source, Path) else None


def _refuse_duplicates(studies: Sequence[Study]) -> None:
    repeated = [study for study, count in Counter(study.study_id for study in studies).items() if count > 1]
    if repeated:
        raise ValueError(
            f"duplicate study ids {repeated[:_MAX_NAMED_STUDIES]} ({len(repeated)} in all); `study_id` must be unique"
        )


def _refuse_shared_patients(studies: Sequence[Study]) -> None:
    """Refuse a patient in two splits, also where the id is written in two ways."""
    canonical = {patient: canonical_id(patient) for patient in {study.patient_id for study in studies}}
    forms = (
        (lambda patient: patient, "are in more than one split"),
        (canonical.__getitem__, "are in more than one split under ids that differ only in zeros, spaces or case"),
    )
    for form, problem in forms:
        splits: dict[str, dict[str, str]] = defaultdict(dict)
        for study in studies:
            splits[form(study.patient_id)][study.split] = study.study_id
        if shared := [seen for seen in splits.values() if len(seen) > 1]:
            example = ", ".join(f"study {study!r} in {split}" for split, study in shared[0].items())
            raise ValueError(
                f"{len(shared)} patients {problem} (one of them: {example}); write each patient's id in one way and "
                "correct the `split` column, or set `split` to shares, which assigns splits by patient"
            )


def _refuse_absent_modalities(spec: CohortSpec, studies: Sequence[Study]) -> None:
    for name in spec.modalities:
        if not any(name in study.sources for study in studies):
            raise ValueError(f"no study has modality {name!r}; correct `modalities.{name}` or remove it")


def _fingerprint(spec: CohortSpec, table: pd.DataFrame, studies: Sequence[Study]) -> str:
    # Without the paths, so that a cohort that was moved keeps its fingerprint.
    settings = {key: value for key, value in asdict(spec).items() if key not in ("table", "root") and value is not None}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(table.to_csv(index=False).encode())
    for study in studies:
        for name, source in study.sources.items():
            if file := file_of(source):
                digest.update(f"{study.study_id}/{name}/{file.name}/{file.stat().st_size}\n".encode())
    return digest.hexdigest()


def adapt_modalities(cohort: Cohort, modalities: Mapping[str, Modality]) -> list[str]:
    """Let plugins derive unset settings from the training studies.

    Returns:
        One sentence per setting that a modality derived, and per part of a source that it leaves out.
    """
    studies = cohort.split("train")
    messages = []
    for name, modality in modalities.items():
        left_out = modality.adapt([study.sources[name] for study in studies if name in study.sources])
        messages += [
            f"{name} takes `{setting}` from the cohort: {value}" for setting, value in modality.adapted().items()
        ]
        messages += [f"{name} leaves out {part!r}: {reason}" for part, reason in left_out.items()]
    return messages


def readable_raws(studies: Sequence[Study], name: str, modality: Modality) -> Iterator[Any]:
    """Decode one modality of the studies that have it; broken sources are skipped, for the caller to count."""
    for study in studies:
        if name in study.sources:
            try:
                yield modality.read(study.sources[name])
            except UnreadableSource:
                continue
