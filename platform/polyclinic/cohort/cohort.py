"""The studies of a cohort: read from a table, validated, and fingerprinted."""

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

from polyclinic.cohort.cells import canonical_id, stands_for_nothing
from polyclinic.cohort.labels import LabelColumn, read_label
from polyclinic.cohort.schema import CohortSpec, Target, read_spec, read_targets, wanted_columns
from polyclinic.cohort.sources import SourceReader
from polyclinic.cohort.table import read_table
from polyclinic.modality import ArrayRow, Modality, Source, UnreadableSource

SPLITS = ("train", "val", "test")
_NAMED = 5
_COLUMNS_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Study:
    """One row: ids, split, the sources of the modalities it has, its labels (NaN for unknown) and groups."""

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
        name: the folder or table it came from.
        studies: in the table's order.
        modalities: names, in the order of ``cohort.yaml``.
        targets: what the labels are, in the order of ``Study.labels``.
        population: in which patient ids are unique; empty where the cohort file does not say.
        unnamed: by label, cells that its ``values`` does not name; see ``LabelColumn``.
        fingerprint: SHA-256 over the specification, every row, and name and size of every source file.
    """

    name: str
    studies: tuple[Study, ...]
    modalities: tuple[str, ...]
    targets: tuple[Target, ...]
    fingerprint: str
    population: str = ""
    unnamed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.targets)

    def split(self, name: str) -> tuple[Study, ...]:
        """The studies of one split.

        Raises:
            ValueError: not one of train, val, test.
        """
        if name not in SPLITS:
            raise ValueError(f"got split {name!r}, expected one of {SPLITS}; set `split`")
        return tuple(study for study in self.studies if study.split == name)

    def present_share(self) -> dict[str, float]:
        """Share of the studies that have each modality."""
        count = Counter(name for study in self.studies for name in study.sources)
        return {name: count[name] / len(self.studies) for name in self.modalities}


def read_cohort(path: Path) -> Cohort:
    """Read ``cohort.yaml`` and its table, and refuse what would make a run wrong.

    Raises:
        ValueError: an unknown column, an empty or duplicate study id, a patient in two splits, a label that is
            not a number, a source that does not exist, a modality in no study. The message names the studies and
            the setting, never a path of a source or a patient.
    """
    spec = read_spec(path)
    table = read_table(spec)
    _require_columns(spec, table)
    ids = _study_ids(spec, table)
    patients = _patients(spec, table, ids)
    labels = {
        name: read_label(name, entry, table[entry["column"]].tolist(), studies=ids, patients=patients)
        for name, entry in spec.labels.items()
    }
    sources = SourceReader(spec)
    studies = _studies(spec, table, ids, patients, labels, sources)
    _refuse_duplicates(studies)
    _refuse_shared_patients(studies)
    sources.refuse_lost()
    _refuse_absent_modalities(spec, studies)
    return Cohort(
        name=path.resolve().parent.name,
        studies=studies,
        modalities=tuple(spec.modalities),
        targets=read_targets(spec.labels),
        fingerprint=_fingerprint(spec, table, studies),
        population=spec.population,
        unnamed={name: label.unnamed for name, label in labels.items() if label.unnamed},
    )


def _require_columns(spec: CohortSpec, table: pd.DataFrame) -> None:
    for setting, columns in wanted_columns(spec).items():
        if unknown := [column for column in columns if column not in table.columns]:
            more = ", ..." if len(table.columns) > _COLUMNS_SHOWN else ""
            raise ValueError(
                f"`{setting}` names column {unknown[0]!r}, which {spec.table.name} does not have; "
                f"its columns are {list(table.columns[:_COLUMNS_SHOWN])}{more}"
            )


def _study_ids(spec: CohortSpec, table: pd.DataFrame) -> list[str]:
    ids: list[str] = table[spec.study_id].tolist()
    if "" in ids:
        raise ValueError(f"row {ids.index('') + 1} of {spec.table.name} has no {spec.study_id}; fill `study_id`")
    return ids


def _studies(
    spec: CohortSpec,
    table: pd.DataFrame,
    ids: Sequence[str],
    patients: Sequence[str],
    labels: Mapping[str, LabelColumn],
    sources: SourceReader,
) -> tuple[Study, ...]:
    splits = _splits(spec, table, patients, ids)
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
        if count > 1 and stands_for_nothing(patient):
            first = [study for study, one in zip(ids, patients, strict=True) if one == patient][:_NAMED]
            raise ValueError(
                f"{count} studies (such as {first}) have {patient!r} as their patient, which stands for an id that is "
                "not known, and would be one patient; write their ids, or leave these studies out of the table"
            )
    return patients


def _splits(spec: CohortSpec, table: pd.DataFrame, patients: Sequence[str], ids: Sequence[str]) -> list[str]:
    if isinstance(spec.split, str):
        splits: list[str] = table[spec.split].tolist()
        for study, split in zip(ids, splits, strict=True):
            if split not in SPLITS:
                raise ValueError(f"study {study!r} has split {split!r}, expected one of {SPLITS}; see `split`")
        return splits
    return [_hashed_split(patient, spec.split) for patient in patients]


def _hashed_split(patient: str, shares: Mapping[str, float]) -> str:
    """Assign by hash, so that a growing cohort never moves a patient to another split."""
    digest = hashlib.sha256(f"{int(shares.get('seed', 0))}:{patient}".encode()).digest()
    place, edge = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for split in SPLITS:
        edge += shares.get(split, 0.0)
        if place < edge:
            return split
    return "train"


def file_of(source: Source) -> Path | None:
    """The file that a cohort names as a source; None for inline data."""
    if isinstance(source, ArrayRow):
        return source.file
    return source if isinstance(source, Path) else None


def _refuse_duplicates(studies: Sequence[Study]) -> None:
    repeated = [study for study, count in Counter(study.study_id for study in studies).items() if count > 1]
    if repeated:
        raise ValueError(f"duplicate study ids {repeated[:_NAMED]} ({len(repeated)} in all); `study_id` must be unique")


def _refuse_shared_patients(studies: Sequence[Study]) -> None:
    """Refuse one patient in two splits, also where the id is written in two ways."""
    canonical = {patient: canonical_id(patient) for patient in {study.patient_id for study in studies}}
    forms = (
        (lambda patient: patient, "are in more than one split"),
        (canonical.__getitem__, "are in more than one split under ids that differ in zeros, spaces or case alone"),
    )
    for form, said in forms:
        splits: dict[str, dict[str, str]] = defaultdict(dict)
        for study in studies:
            splits[form(study.patient_id)][study.split] = study.study_id
        if shared := [seen for seen in splits.values() if len(seen) > 1]:
            example = ", ".join(f"study {study!r} in {split}" for split, study in shared[0].items())
            raise ValueError(
                f"{len(shared)} patients {said} (one of them: {example}); write each patient's id in one way and "
                "correct the `split` column, or give `split` shares to assign by patient"
            )


def _refuse_absent_modalities(spec: CohortSpec, studies: Sequence[Study]) -> None:
    for name in spec.modalities:
        if not any(name in study.sources for study in studies):
            raise ValueError(f"no study has modality {name!r}; correct `modalities.{name}` or leave it out")


def _fingerprint(spec: CohortSpec, table: pd.DataFrame, studies: Sequence[Study]) -> str:
    told = {key: value for key, value in asdict(spec).items() if key not in ("table", "root")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    digest.update(table.to_csv(index=False).encode())
    for study in studies:
        for name, source in study.sources.items():
            if file := file_of(source):
                digest.update(f"{study.study_id}/{name}/{file.name}/{file.stat().st_size}\n".encode())
    return digest.hexdigest()


def adapt_modalities(cohort: Cohort, modalities: Mapping[str, Modality]) -> list[str]:
    """Let plugins choose the settings that were left out, from the training studies.

    Returns:
        Sentences that say what a modality leaves out of its sources, and why.
    """
    studies = cohort.split("train")
    return [
        f"{name} leaves out {part!r}: {reason}"
        for name, modality in modalities.items()
        for part, reason in modality.adapt([study.sources[name] for study in studies if name in study.sources]).items()
    ]


def readable_raws(studies: Sequence[Study], name: str, modality: Modality) -> Iterator[Any]:
    """Decode one modality of those studies that have it; broken sources are left out, for the caller to count."""
    for study in studies:
        if name in study.sources:
            try:
                yield modality.read(study.sources[name])
            except UnreadableSource:
                continue
