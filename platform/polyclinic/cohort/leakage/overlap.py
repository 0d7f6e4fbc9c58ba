"""Train-test leakage: patients and contents of a split that the weights were trained or selected on."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from rich.console import Console
from rich.table import Table

from polyclinic.cohort.cohort import SPLITS, Cohort
from polyclinic.cohort.leakage.fingerprints import StudyKeys, study_keys
from polyclinic.modality import Modality

_MAX_NAMED_STUDIES = 5
_FINGERPRINT_LENGTH = 8


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """Sorted distinct keys of patients and contents; see ``StudyKeys``."""

    patients: Int64[np.ndarray, " P"]
    canonical: Int64[np.ndarray, " Q"]
    contents: Int64[np.ndarray, " C"]

    @classmethod
    def of(cls, keys: StudyKeys, rows: Bool[np.ndarray, " N"]) -> "KeySet":
        """Return the keys of the selected rows."""
        contents = [column[rows] for column in keys.contents.values()] or [np.zeros(0, dtype=np.int64)]
        found = np.unique(np.concatenate(contents))
        return cls(
            patients=np.unique(keys.patients[rows]),
            canonical=np.unique(keys.canonical[rows]),
            contents=found[found != 0],
        )

    def joined(self, other: "KeySet") -> "KeySet":
        """Return the union of two key sets."""
        return KeySet(
            patients=np.union1d(self.patients, other.patients),
            canonical=np.union1d(self.canonical, other.canonical),
            contents=np.union1d(self.contents, other.contents),
        )


@dataclass(frozen=True, kw_only=True)
class CohortExposure:
    """Training exposure to one cohort, over one run or several consecutive ones.

    Anyone with a list of patient ids can test which of them are among the keys, as that is their purpose; a checkpoint
    is therefore as confidential as the list of its patients.

    Attributes:
        name: name of the cohort.
        population: population in which its patient ids are unique; empty where its file does not state one.
        fingerprint: fingerprint of the cohort.
        trained: keys of the studies on which weights were fitted.
        selected: keys of the studies on which a checkpoint was selected.
    """

    name: str
    population: str
    fingerprint: str
    trained: KeySet
    selected: KeySet

    def __str__(self) -> str:
        return f"{self.name} {self.fingerprint[:_FINGERPRINT_LENGTH]}"


@dataclass(frozen=True, kw_only=True)
class TrainingExposure:
    """Training exposure of weights: every cohort of their run and of the runs that it started from.

    Attributes:
        cohorts: distinct cohorts.
        unknown: descriptions of exposure that was not recorded.
    """

    cohorts: tuple[CohortExposure, ...] = ()
    unknown: tuple[str, ...] = ()

    def joined(self, other: "TrainingExposure") -> "TrainingExposure":
        """Return the union of two exposures."""
        cohorts = {(cohort.fingerprint, cohort.population): cohort for cohort in self.cohorts}
        for cohort in other.cohorts:
            same = cohorts.get((cohort.fingerprint, cohort.population))
            cohorts[cohort.fingerprint, cohort.population] = cohort if same is None else _merged(same, cohort)
        return TrainingExposure(
            cohorts=tuple(cohorts.values()), unknown=tuple(dict.fromkeys((*self.unknown, *other.unknown)))
        )

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors for a checkpoint: sixteen bytes per patient, eight per content."""
        return {
            "unknown": list(self.unknown),
            "cohorts": [
                {"name": cohort.name, "population": cohort.population, "fingerprint": cohort.fingerprint}
                | {use: _as_tensors(getattr(cohort, use)) for use in ("trained", "selected")}
                for cohort in self.cohorts
            ],
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "TrainingExposure":
        """Restore an exposure from its ``state``."""
        return cls(
            unknown=tuple(state["unknown"]),
            cohorts=tuple(
                CohortExposure(**cohort | {use: _from_tensors(cohort[use]) for use in ("trained", "selected")})
                for cohort in state["cohorts"]
            ),
        )


def cohort_exposure(
    cohort: Cohort,
    modalities: Mapping[str, Modality | None],
    *,
    trained: Collection[str],
    selected: Collection[str],
    folder: Path | None = None,
) -> CohortExposure:
    """Compute the exposure of a run to its cohort.

    Args:
        cohort: cohort of the run.
        modalities: modalities that the run reads.
        trained: ids of the training studies.
        selected: ids of the studies on which the checkpoint is selected.
        folder: cache folder; see ``study_keys``.
    """
    uses = (frozenset(trained), frozenset(selected))
    studies = [study for study in cohort.studies if any(study.study_id in use for use in uses)]
    keys = study_keys(cohort, modalities, studies, folder=folder)
    trained_rows, selected_rows = (np.array([study in use for study in keys.study_ids], dtype=bool) for use in uses)
    return CohortExposure(
        name=cohort.name,
        population=cohort.population,
        fingerprint=cohort.fingerprint,
        trained=KeySet.of(keys, trained_rows),
        selected=KeySet.of(keys, selected_rows),
    )


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Overlap of some splits with the training exposure of weights.

    Attributes:
        splits: splits that were compared.
        studies: number of studies in these splits.
        against: cohorts of the exposure, including that of the run itself.
        shared: ids of the studies whose patient or content is in the exposure.
        patients: number of shared patients.
        rewritten: number of shared patients whose ids are written differently, such as ``00100`` and ``100``.
        patients_compared: number of patients that could be compared; 0 where no cohort is of the same population.
        contents: number of studies with a shared content, by modality.
        compared: number of studies with a content that could be compared, by modality.
        unstated: whether only patients are shared, and no cohort states its population.
        incomparable: cohorts whose patients could not be compared, as only one side states its population.
        unknown: descriptions of exposure that was not recorded.
        allowed: whether the user accepts the overlap.
    """

    splits: tuple[str, ...]
    studies: int
    against: tuple[str, ...]
    shared: tuple[str, ...]
    patients: int
    rewritten: int
    patients_compared: int
    contents: Mapping[str, int]
    compared: Mapping[str, int]
    unstated: bool
    incomparable: tuple[str, ...]
    unknown: tuple[str, ...]
    allowed: bool

    @property
    def statements(self) -> tuple[str, ...]:
        """Sentences on the extent of the overlap, and on what could not be compared."""
        statements = [self._sentence] if self.shared else []
        statements += [f"whether studies were seen before is unknown: {reason}" for reason in self.unknown]
        statements += [
            f"patients were not compared with those of cohort {cohort}, as only one of the two cohorts states its "
            "population; set `population` in both cohort files"
            for cohort in self.incomparable
        ]
        return tuple(statements)

    def refuse(self) -> None:
        """Raise an error if studies are shared, unless ``allowed``.

        Raises:
            ValueError: a study was seen before.
        """
        if self.shared and not self.allowed:
            raise ValueError(
                f"{self._sentence}; train on them or leave them out, or set `--allow_overlap true`, which is then "
                "reported with every result"
            )

    def as_record(self) -> dict[str, Any]:
        """Return all attributes and statements as plain values."""
        return asdict(self) | {"statements": self.statements}

    @property
    def _sentence(self) -> str:
        equal = ", ".join(f"{count} of {name}" for name, count in self.contents.items() if count)
        shares = [f"{self.patients} patient{'s' if self.patients > 1 else ''}"] if self.patients else []
        if self.rewritten:
            shares[0] += f" ({self.rewritten} by an id that differs only in zeros, spaces, case or '.0')"
        shares += [f"equal contents, {equal}"] if equal else []
        more = ", ..." if len(self.shared) > _MAX_NAMED_STUDIES else ""
        sentence = (
            f"{len(self.shared)} of {self.studies} studies of split {' and '.join(self.splits)} were seen before "
            f"({', '.join(self.shared[:_MAX_NAMED_STUDIES])}{more}): {' and '.join(shares)}"
        )
        if self.unstated:
            sentence += (
                "; no cohort states its population, so that equal patient ids may be chance: if they are, set "
                "`population` in the cohort file"
            )
        return sentence


def find_overlap(
    seen: TrainingExposure,
    cohort: Cohort,
    modalities: Mapping[str, Modality | None],
    *,
    tested: Collection[str],
    chosen: Collection[str] = (),
    within: bool = False,
    allowed: bool = False,
    folder: Path | None = None,
) -> Overlap:
    """Find the overlap of the splits of a cohort with a training exposure.

    A split for testing must not have been trained or selected on; a split that selects a checkpoint or a threshold
    must not have been trained on.

    Args:
        seen: training exposure of the weights.
        cohort: cohort whose splits are used.
        modalities: modalities that are read.
        tested: splits for testing.
        chosen: splits for selection.
        within: whether to compare with this cohort, too, whose splits have no patient in common.
        allowed: whether the user accepts an overlap.
        folder: cache folder; see ``study_keys``.
    """
    splits = tuple(name for name in SPLITS if name in {*tested, *chosen})
    earlier = [exposure for exposure in seen.cohorts if within or exposure.fingerprint != cohort.fingerprint]
    populations = {exposure.population for exposure in earlier}
    studies = [study for study in cohort.studies if study.split in splits]
    keys = study_keys(cohort, modalities if earlier else {}, studies, folder=folder)
    testing, choosing = (np.array([split in use for split in keys.splits], dtype=bool) for use in (tested, chosen))
    patients, exact = np.zeros(len(studies), dtype=bool), np.zeros(len(studies), dtype=bool)
    contents = {name: patients.copy() for name in keys.contents}
    for exposure in earlier:
        for pool, rows in ((exposure.trained, testing | choosing), (exposure.selected, testing)):
            if exposure.population == cohort.population:
                exact |= rows & np.isin(keys.patients, pool.patients)
                # With the exact keys, too: an old checkpoint has no canonical ones.
                patients |= rows & np.isin(keys.canonical, np.union1d(pool.canonical, pool.patients))
            for name, column in keys.contents.items():
                contents[name] |= rows & np.isin(column, pool.contents)
    patients |= exact
    shared = np.logical_or.reduce([patients, *contents.values()])
    return Overlap(
        splits=splits,
        studies=len(studies),
        against=tuple(map(str, seen.cohorts)),
        shared=tuple(study.study_id for study, is_shared in zip(studies, shared, strict=True) if is_shared),
        patients=len(np.unique(keys.patients[patients])),
        rewritten=len(np.unique(keys.patients[patients & ~exact])),
        patients_compared=len(np.unique(keys.patients)) if cohort.population in populations else 0,
        contents={name: int(rows.sum()) for name, rows in contents.items()},
        compared={name: int((column != 0).sum()) for name, column in keys.contents.items()},
        unstated=bool(patients.any()) and not cohort.population and not any(rows.any() for rows in contents.values()),
        incomparable=tuple(
            str(exposure) for exposure in earlier if bool(exposure.population) != bool(cohort.population)
        ),
        unknown=seen.unknown,
        allowed=allowed,
    )


def print_overlap(overlap: Overlap, console: Console) -> None:
    """Print the numbers of shared and compared patients and contents, and the statements."""
    title = f"{overlap.studies} studies ({', '.join(overlap.splits)}) against {', '.join(overlap.against) or 'nothing'}"
    table = Table("", title=title)
    for heading in ("compared", "shared"):
        table.add_column(heading, justify="right")
    table.add_row("patients", str(overlap.patients_compared), str(overlap.patients))
    if overlap.rewritten:
        table.add_row("  by an id written differently", "", str(overlap.rewritten))
    for name, count in overlap.contents.items():
        table.add_row(f"contents of {name}", str(overlap.compared[name]), str(count))
    console.print(table)
    for statement in overlap.statements:
        console.print(statement, markup=False, soft_wrap=True)


def _merged(first: CohortExposure, second: CohortExposure) -> CohortExposure:
    return replace(first, trained=first.trained.joined(second.trained), selected=first.selected.joined(second.selected))


def _as_tensors(keys: KeySet) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(getattr(keys, name)) for name in ("patients", "canonical", "contents")}


def _from_tensors(state: Mapping[str, torch.Tensor]) -> KeySet:
    """Restore a key set from a checkpoint; old checkpoints have no canonical keys."""
    empty = torch.zeros(0, dtype=torch.int64)
    return KeySet(**{name: state.get(name, empty).cpu().numpy() for name in ("patients", "canonical", "contents")})
