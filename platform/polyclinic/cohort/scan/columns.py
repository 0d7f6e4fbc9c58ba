"""Columns of a table of studies: ids, splits, labels and groups."""

import re
from collections import defaultdict
from collections.abc import Sequence

from polyclinic.cohort.cells import read_number

_PATIENT = frozenset({"patient", "patientid", "subject", "subjectid", "mrn", "personid"})
_STUDY = frozenset(
    {"study", "studyid", "studyinstanceuid", "accession", "accessionid", "accessionnumber", "exam", "examid", "record",
     "recordid", "visit", "visitid", "encounter", "encounterid"}
)  # fmt: skip
_VALUES = frozenset({"0", "1", "-1"})
_BOOLEANS = frozenset({"true", "false"})
_MAX_GROUPS = 12
_MIN_PATIENTS = 2


def is_patient_column(name: str) -> bool:
    """Return whether a column is named like one of patient ids."""
    return _plain(name) in _PATIENT


def is_study_column(name: str) -> bool:
    """Return whether a column is named like one of study ids or accession numbers."""
    return _plain(name) in _STUDY


def is_id_column(name: str) -> bool:
    """Return whether a column is named like one of ids."""
    return is_patient_column(name) or is_study_column(name)


def is_split_column(name: str) -> bool:
    """Return whether a column is named ``split``."""
    return _plain(name) == "split"


def is_label(cells: Sequence[str]) -> bool:
    """Return whether cells are those of a finding: 0, 1, -1 for uncertain, or blank, and 0 or false among them."""
    distinct = {cell.lower() for cell in cells if cell}
    if distinct & _BOOLEANS:
        return distinct <= _BOOLEANS
    numbers = {f"{number.normalize():f}" if (number := read_number(cell)) is not None else "" for cell in distinct}
    return "0" in numbers and numbers <= _VALUES


def is_group(cells: Sequence[str], patients: Sequence[str]) -> bool:
    """Return whether cells divide the patients into 2 to 12 groups of at least two patients."""
    members: dict[str, set[str]] = defaultdict(set)
    for cell, patient in zip(cells, patients, strict=True):
        if cell:
            members[cell].add(patient)
    sizes = [len(each) for each in members.values()]
    return 2 <= len(sizes) <= _MAX_GROUPS and min(sizes) >= _MIN_PATIENTS


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
