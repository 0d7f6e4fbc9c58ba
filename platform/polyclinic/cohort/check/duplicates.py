"""Studies that hold the same, bit for bit."""

from collections.abc import Iterable
from dataclasses import dataclass

from polyclinic.cohort.check.source import Content
from polyclinic.cohort.cohort import Study, file_of
from polyclinic.modality import Concern, Severity

_GRADES: dict[tuple[bool, str], tuple[Severity, str, str]] = {
    (False, "splits"): (
        "error",
        "same-measurement-across-splits",
        "the same measurement under different patients in different splits: it is trained on and tested on",
    ),
    (False, "patients"): (
        "warning",
        "same-measurement-of-two-patients",
        "the same measurement under different patients: one of them is not its patient",
    ),
    (False, "patient"): (
        "note",
        "same-measurement-of-one-patient",
        "the same measurement in several studies of one patient",
    ),
    (True, "splits"): (
        "warning",
        "same-text-across-splits",
        "the same text, word for word, under different patients in different splits",
    ),
    (True, "patients"): ("note", "same-text-of-two-patients", "the same text, word for word, under different patients"),
    (True, "patient"): ("note", "same-text-of-one-patient", "the same text in several studies of one patient"),
}


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Studies with one content.

    Attributes:
        code: of the concern that it is.
        severity: how bad; a measurement is never the same by chance, words may be.
        studies: ids, in the order of the table.
        splits: those that they are in.
        one_file: whether the table names one and the same file for all of them.
    """

    code: str
    severity: Severity
    studies: tuple[str, ...]
    splits: tuple[str, ...]
    one_file: bool


def find_duplicates(name: str, contents: Iterable[tuple[Study, Content]]) -> list[tuple[Duplicate, Concern]]:
    """Groups of studies whose sources of one modality hold the same, each with the concern of its studies."""
    groups: dict[bytes, list[tuple[Study, Content]]] = {}
    for study, content in contents:
        groups.setdefault(content.digest, []).append((study, content))
    return [_duplicate(name, group) for group in groups.values() if len(group) > 1]


def _duplicate(name: str, group: list[tuple[Study, Content]]) -> tuple[Duplicate, Concern]:
    studies = [study for study, _ in group]
    splits = tuple(sorted({study.split for study in studies}))
    several = len({study.patient_id for study in studies}) > 1
    relation = "patient" if not several else "patients" if len(splits) == 1 else "splits"
    severity, code, said = _GRADES[group[0][1].text, relation]
    duplicate = Duplicate(
        code=code,
        severity=severity,
        studies=tuple(study.study_id for study in studies),
        splits=splits,
        one_file=len({file_of(study.sources[name]) for study in studies} - {None}) == 1,
    )
    return duplicate, Concern(severity=severity, code=code, said=said)
