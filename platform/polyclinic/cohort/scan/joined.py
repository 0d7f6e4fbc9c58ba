"""Take splits, labels and groups from the tables of a folder."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from polyclinic.cohort.cells import canonical_id
from polyclinic.cohort.cohort import SPLITS, hashed_split
from polyclinic.cohort.scan.columns import is_group, is_id_column, is_label, is_split_column
from polyclinic.cohort.scan.studies import ScannedStudy
from polyclinic.cohort.scan.tables import StudyTable

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2, "seed": 0}
"""Shares of patients where no table has splits."""


@dataclass(kw_only=True)
class Joined:
    """Columns of the tables, with one cell per study.

    Attributes:
        labels: columns of findings.
        groups: columns for subgroups.
        split: split of each study; None where no table has splits.
        unsplit: number of studies whose patient has no split in the table, and got one by shares.
        unused: columns that are none of these, by table.
        notes: why a column of splits was not used.
    """

    labels: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    split: list[str] | None = None
    unsplit: int = 0
    unused: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def join_tables(studies: Sequence[ScannedStudy], tables: Sequence[StudyTable], reserved: Sequence[str]) -> Joined:
    """Return the columns that can be used.

    Args:
        studies: studies of the folder.
        tables: tables that list studies or patients.
        reserved: names of columns that the table of the cohort has anyway.
    """
    joined, patients = Joined(), [study.patient_id for study in studies]
    for number, table in enumerate(tables):
        unused = joined.unused.setdefault(table.path, [])
        rows = _rows(studies, table, number)
        for column in table.cells.columns:
            if column in (table.key, table.patient) or column in table.paths or is_id_column(column):
                continue
            cells = ["" if row is None else str(table.cells[column].iloc[row]) for row in rows]
            if is_split_column(column) and joined.split is None:
                _take_split(joined, cells, patients)
            elif column in (*reserved, *joined.labels, *joined.groups):
                unused.append(column)
            elif is_label(cells):
                joined.labels[column] = cells
            elif is_group(cells, patients):
                joined.groups[column] = cells
            else:
                unused.append(column)
    return joined


def _rows(studies: Sequence[ScannedStudy], table: StudyTable, number: int) -> list[int | None]:
    """Return the row of a table for each study."""
    if not table.of_patients:
        return [study.rows.get(number) for study in studies]
    row_of = {canonical_id(patient): row for row, patient in enumerate(table.cells[table.key])}
    return [row_of.get(canonical_id(study.patient_id)) for study in studies]


def _take_split(joined: Joined, cells: Sequence[str], patients: Sequence[str]) -> None:
    """Use a column of splits if it has no other values and no patient is in two; others get one by shares."""
    splits: dict[str, set[str]] = defaultdict(set)
    for cell, patient in zip(cells, patients, strict=True):
        if cell:
            splits[patient].add(cell)
    if not splits or not set().union(*splits.values()) <= set(SPLITS):
        joined.notes.append(f"a column `split` that is not used, as it has other values than {', '.join(SPLITS)}")
    elif shared := sum(len(found) > 1 for found in splits.values()):
        joined.notes.append(f"a column `split` that is not used, as it has {shared} patients in two splits")
    else:
        known: Mapping[str, str] = {patient: next(iter(found)) for patient, found in splits.items()}
        joined.split = [known.get(patient) or hashed_split(patient, SHARES) for patient in patients]
        joined.unsplit = sum(patient not in known for patient in patients)
