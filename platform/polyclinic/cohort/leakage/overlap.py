"""Who was seen before: patients and contents that one run was trained on and another split holds again."""

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

_NAMED = 5
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """Sorted distinct keys of patients and of contents; see ``StudyKeys``."""

    patients: Int64[np.ndarray, " P"]
    canonical: Int64[np.ndarray, " Q"]
    contents: Int64[np.ndarray, " C"]

    @classmethod
    def of(cls, keys: StudyKeys, rows: Bool[np.ndarray, " N"]) -> "KeySet":
        """Of some studies."""
        contents = [column[rows] for column in keys.contents.values()] or [np.zeros(0, dtype=np.int64)]
        found = np.unique(np.concatenate(contents))
        return cls(
            patients=np.unique(keys.patients[rows]),
            canonical=np.unique(keys.canonical[rows]),
            contents=found[found != 0],
        )

    def joined(self, other: "KeySet") -> "KeySet":
        """Of either."""
        return KeySet(
            patients=np.union1d(self.patients, other.patients),
            canonical=np.union1d(self.canonical, other.canonical),
            contents=np.union1d(self.contents, other.contents),
        )


@dataclass(frozen=True, kw_only=True)
class CohortExposure:
    """What a run, or several one after the other, saw of one cohort.

    Whoever knows the ids of a population can tell which are among its keys: that is what they are for, so a
    checkpoint is as confidential as the list of its patients.

    Attributes:
        name: of the cohort.
        population: in which its patient ids are unique; empty where its file does not say.
        fingerprint: of the cohort.
        trained: on which weights were fitted.
        selected: on which a checkpoint was chosen.
    """

    name: str
    population: str
    fingerprint: str
    trained: KeySet
    selected: KeySet

    def __str__(self) -> str:
        return f"{self.name} {self.fingerprint[:_SHOWN]}"


@dataclass(frozen=True, kw_only=True)
class TrainingExposure:
    """What weights were made from: every cohort of the run and of those that it started from.

    Attributes:
        cohorts: each once.
        unknown: parts of it that nobody recorded, in words.
    """

    cohorts: tuple[CohortExposure, ...] = ()
    unknown: tuple[str, ...] = ()

    def joined(self, other: "TrainingExposure") -> "TrainingExposure":
        """What either saw."""
        cohorts = {(one.fingerprint, one.population): one for one in self.cohorts}
        for one in other.cohorts:
            known = cohorts.get((one.fingerprint, one.population))
            cohorts[one.fingerprint, one.population] = one if known is None else _merged(known, one)
        return TrainingExposure(
            cohorts=tuple(cohorts.values()), unknown=tuple(dict.fromkeys((*self.unknown, *other.unknown)))
        )

    def state(self) -> dict[str, Any]:
        """As plain values and tensors, for a checkpoint: eight bytes per patient and per content."""
        return {
            "unknown": list(self.unknown),
            "cohorts": [
                {"name": one.name, "population": one.population, "fingerprint": one.fingerprint}
                | {use: _as_tensors(getattr(one, use)) for use in ("trained", "selected")}
                for one in self.cohorts
            ],
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "TrainingExposure":
        """From what ``state`` returned."""
        return cls(
            unknown=tuple(state["unknown"]),
            cohorts=tuple(
                CohortExposure(**one | {use: _from_tensors(one[use]) for use in ("trained", "selected")})
                for one in state["cohorts"]
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
    """What a run sees of a cohort.

    Args:
        cohort: of the run.
        modalities: that it reads.
        trained: ids of the studies that it is fitted on.
        selected: ids of those that choose its checkpoint.
        folder: see ``study_keys``.
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
    """What was seen before of the studies of some splits.

    Attributes:
        splits: that were looked at.
        studies: how many studies these have.
        against: the cohorts seen before, that of the run itself included.
        shared: ids of the studies whose patient or content was seen before.
        patients: how many patients were.
        rewritten: how many of these under an id that is written otherwise, such as ``00100`` and ``100``.
        patients_compared: how many could be; 0 where no cohort seen before is of a population that compares.
        contents: by modality, how many studies have a content that was.
        compared: by modality, how many have a content that could be.
        unstated: whether patients alone are shared, and no cohort says of which population they are.
        incomparable: cohorts whose patients could not be compared, as only one side states its population.
        unknown: what was seen before and nobody recorded.
        allowed: whether the user wants to go on all the same.
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
        """What a reader must know: how much is shared, and what could not be compared."""
        told = [self._sentence] if self.shared else []
        told += [f"whether studies were seen before is unknown: {one}" for one in self.unknown]
        told += [
            f"patients were not compared with those of cohort {one}, as only one of the two cohorts states its "
            "population; set `population` in both cohort files"
            for one in self.incomparable
        ]
        return tuple(told)

    def refuse(self) -> None:
        """Stop, unless it is allowed.

        Raises:
            ValueError: a study was seen before.
        """
        if self.shared and not self.allowed:
            raise ValueError(
                f"{self._sentence}; train on them or leave them out, or set `--allow_overlap true`, which is then "
                "told with every figure"
            )

    def told(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self) | {"statements": self.statements}

    def tags(self) -> dict[str, str]:
        """For MLflow: counts, or ``unknown`` where nothing was found and not everything could be compared."""
        patients, contents = self.patients, sum(self.contents.values())
        return {
            "patients": str(patients) if patients or not (self.unknown or self.incomparable) else "unknown",
            "contents": str(contents) if contents or not self.unknown else "unknown",
            "allowed": str(self.allowed).lower(),
            "against": ", ".join(self.against) or "none",
        }

    @property
    def _sentence(self) -> str:
        equal = ", ".join(f"{count} of {name}" for name, count in self.contents.items() if count)
        shares = [f"{self.patients} patient{'s' if self.patients > 1 else ''}"] if self.patients else []
        if self.rewritten:
            shares[0] += f" ({self.rewritten} by an id that differs in zeros, spaces, case or '.0' alone)"
        shares += [f"equal contents, {equal}"] if equal else []
        more = ", ..." if len(self.shared) > _NAMED else ""
        told = (
            f"{len(self.shared)} of {self.studies} studies of split {' and '.join(self.splits)} were seen before "
            f"({', '.join(self.shared[:_NAMED])}{more}): {' and '.join(shares)}"
        )
        if self.unstated:
            told += (
                "; no cohort states its population, so that equal patient ids may be chance: if they are, set "
                "`population` in the cohort file"
            )
        return told


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
    """What was seen before of the splits that are about to be used.

    A split that tests must have neither trained nor selected anything, one that chooses a checkpoint or a threshold
    must not have trained anything.

    Args:
        seen: what the weights were made from.
        cohort: whose splits are used.
        modalities: that are read.
        tested: splits that measure.
        chosen: splits that choose.
        within: whether to compare with what was seen of this very cohort, too, whose split keeps the patients apart.
        allowed: whether the user wants to go on with studies that were seen before.
        folder: see ``study_keys``.
    """
    splits = tuple(name for name in SPLITS if name in {*tested, *chosen})
    earlier = [one for one in seen.cohorts if within or one.fingerprint != cohort.fingerprint]
    populations = {one.population for one in earlier}
    studies = [study for study in cohort.studies if study.split in splits]
    keys = study_keys(cohort, modalities if earlier else {}, studies, folder=folder)
    testing, choosing = (np.array([split in use for split in keys.splits], dtype=bool) for use in (tested, chosen))
    patients, exact = np.zeros(len(studies), dtype=bool), np.zeros(len(studies), dtype=bool)
    contents = {name: patients.copy() for name in keys.contents}
    for one in earlier:
        for pool, rows in ((one.trained, testing | choosing), (one.selected, testing)):
            if one.population == cohort.population:
                exact |= rows & np.isin(keys.patients, pool.patients)
                patients |= rows & np.isin(keys.canonical, np.union1d(pool.canonical, pool.patients))
            for name, column in keys.contents.items():
                contents[name] |= rows & np.isin(column, pool.contents)
    patients |= exact
    shared = np.logical_or.reduce([patients, *contents.values()])
    return Overlap(
        splits=splits,
        studies=len(studies),
        against=tuple(map(str, seen.cohorts)),
        shared=tuple(study.study_id for study, known in zip(studies, shared, strict=True) if known),
        patients=len(np.unique(keys.patients[patients])),
        rewritten=len(np.unique(keys.patients[patients & ~exact])),
        patients_compared=len(np.unique(keys.patients)) if cohort.population in populations else 0,
        contents={name: int(rows.sum()) for name, rows in contents.items()},
        compared={name: int((column != 0).sum()) for name, column in keys.contents.items()},
        unstated=bool(patients.any()) and not cohort.population and not any(rows.any() for rows in contents.values()),
        incomparable=tuple(str(one) for one in earlier if bool(one.population) != bool(cohort.population)),
        unknown=seen.unknown,
        allowed=allowed,
    )


def print_overlap(overlap: Overlap, console: Console) -> None:
    """Print what is shared, by kind, of how many."""
    title = f"{overlap.studies} studies ({', '.join(overlap.splits)}) against {', '.join(overlap.against) or 'nothing'}"
    table = Table("", title=title)
    for heading in ("compared", "shared"):
        table.add_column(heading, justify="right")
    table.add_row("patients", str(overlap.patients_compared), str(overlap.patients))
    if overlap.rewritten:
        table.add_row("  by an id written otherwise", "", str(overlap.rewritten))
    for name, count in overlap.contents.items():
        table.add_row(f"contents of {name}", str(overlap.compared[name]), str(count))
    console.print(table)
    for statement in overlap.statements:
        console.print(statement, markup=False, soft_wrap=True)


def _merged(one: CohortExposure, other: CohortExposure) -> CohortExposure:
    return replace(one, trained=one.trained.joined(other.trained), selected=one.selected.joined(other.selected))


def _as_tensors(keys: KeySet) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(getattr(keys, name)) for name in ("patients", "canonical", "contents")}


def _from_tensors(state: Mapping[str, torch.Tensor]) -> KeySet:
    """Of a checkpoint; one written before canonical keys were kept has none."""
    none = torch.zeros(0, dtype=torch.int64)
    return KeySet(**{name: state.get(name, none).cpu().numpy() for name in ("patients", "canonical", "contents")})
