"""Write a cohort as a MEDS dataset: sources, labels and groups as events of its patients."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from polyclinic.cohort.cells import read_number
from polyclinic.cohort.cohort import Cohort, Study
from polyclinic.cohort.meds.write import write_meds
from polyclinic.modality import ArrayRow, EventWindow, Source, UnreadableSource, read_events

PATHS, STUDIES = "path", "studies.csv"
_LARGEST = 2**63 - 1


class Exported(NamedTuple):
    """Numbers of what was written."""

    events: int
    subjects: int
    studies: int
    windowed: int
    without_time: int


def write_cohort_events(cohort: Cohort, folder: Path, *, root: Path, times: Mapping[str, datetime]) -> Exported:
    """Write a cohort as a MEDS dataset.

    A study gives one event for each source, ``SOURCE//MODALITY``: a file has its path in the column ``path``, relative
    to ``root`` where it lies below it, and a row of an array file also its number in ``row``; a text is ``text_value``;
    cells are ``SOURCE//MODALITY//COLUMN``. Known labels are ``LABEL//NAME`` and groups ``GROUP//NAME``. Windows of
    events are written as they are in their dataset, each event once. The subject of a patient is that of these
    windows, else the patient id if all are integers, else a hash of population and id. ``studies.csv`` holds the
    subject and time of each study, by which ``meds`` reads the dataset in again.

    The time of an event is that of its study; without one, the event is a fact without a time.

    Args:
        cohort: cohort to write.
        folder: folder to write, missing or empty.
        root: folder from which paths start.
        times: time of each study that has one; a study with a window has the time of its anchor unless given.

    Raises:
        ValueError: the folder is not empty, a window cannot be read, or two patients have one subject.
    """
    subjects = _subjects(cohort)
    known = {**_anchors(cohort), **times}
    rows = [row for study in cohort.studies for row in _study_rows(study, cohort, subjects, known, root)]
    tables = [*_windowed(cohort), _table(rows)]
    windowed = sum(map(len, tables[:-1]))
    events = _joined(tables)
    extra = [name for name in events.column_names if name not in _KNOWN]
    write_meds(
        folder,
        events,
        dataset_name=cohort.name,
        splits={subjects[study.patient_id]: study.split for study in cohort.studies},
        metadata={
            "additional_value_modality_columns": [PATHS],
            "raw_source_id_columns": ["study_id"],
            "other_extension_columns": ["modality", "row", *extra],
        },
        beside={STUDIES: _study_table(cohort, subjects, known)},
    )
    without = pc.sum(pc.is_null(events["time"])).as_py() or 0
    return Exported(len(events), len(set(subjects.values())), len(cohort.studies), windowed, without)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        raise ValueError(
            "got windows of events whose columns have other types than those of this dataset, such as `row` or `path`; "
            "rename these columns in the MEDS dataset"
        ) from None


_TYPES = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
    "text_value": pa.string(),
    "unit": pa.string(),
    "study_id": pa.string(),
    "modality": pa.string(),
    PATHS: pa.string(),
    "row": pa.int64(),
}
_KNOWN = frozenset(_TYPES)


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in _TYPES.items()})


def _subjects(cohort: Cohort) -> dict[str, int]:
    """Return the subject of each patient."""
    found: dict[str, set[int]] = defaultdict(set)
    for study in cohort.studies:
        found[study.patient_id].update(
            source.subject for source in study.sources.values() if isinstance(source, EventWindow)
        )
    if several := [owner for owner, numbers in found.items() if len(numbers) > 1]:
        raise ValueError(
            f"{len(several)} patients have several subjects in the datasets of their windows, expected one; correct "
            "the column of `subject` in the cohort file"
        )
    whole = all(_is_integer(patient) for patient in found)
    subjects = {
        patient: next(iter(numbers)) if numbers else int(patient) if whole else _hashed(cohort.population, patient)
        for patient, numbers in found.items()
    }
    if len(set(subjects.values())) < len(subjects):
        raise ValueError(
            "got two patients with one subject, expected as many subjects as patients; correct `patient_id` or "
            "`subject` in the cohort file"
        )
    return subjects


def _is_integer(patient: str) -> bool:
    return patient.isascii() and patient.isdecimal() and str(int(patient)) == patient and int(patient) <= _LARGEST


def _hashed(population: str, patient: str) -> int:
    digest = hashlib.sha256(json.dumps([population, patient]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _anchors(cohort: Cohort) -> dict[str, datetime]:
    return {
        study.study_id: source.anchor
        for study in cohort.studies
        for source in study.sources.values()
        if isinstance(source, EventWindow)
    }


def _study_rows(
    study: Study, cohort: Cohort, subjects: Mapping[str, int], times: Mapping[str, datetime], root: Path
) -> Iterator[dict[str, Any]]:
    base = {
        "subject_id": subjects[study.patient_id],
        "time": times.get(study.study_id),
        "study_id": study.study_id,
    }
    for name, source in study.sources.items():
        for row in _source_rows(name, source, root):
            yield {**base, "modality": name, **row}
    for target, value in zip(cohort.targets, study.labels, strict=True):
        if not np.isnan(value):
            number = None if target.names else value
            text = target.names[int(value)] if target.names else None
            yield {**base, "code": f"LABEL//{target.name}", "numeric_value": number, "text_value": text}
    for group, cell in study.groups.items():
        if cell:
            yield {**base, "code": f"GROUP//{group}", "text_value": cell}


def _source_rows(name: str, source: Source, root: Path) -> Iterator[dict[str, Any]]:
    code = f"SOURCE//{name}"
    if isinstance(source, str):
        yield {"code": code, "text_value": source}
    elif isinstance(source, Mapping):
        for column, cell in source.items():
            if cell:
                number = read_number(cell)
                value = None if number is None else float(number)
                # The text as well: float32 has seven digits.
                yield {"code": f"{code}//{column}", "numeric_value": value, "text_value": cell}
    elif isinstance(source, ArrayRow):
        yield {"code": code, PATHS: _relative(source.file, root), "row": source.row}
    elif isinstance(source, Path):
        yield {"code": code, PATHS: _relative(source, root)}


def _relative(file: Path, root: Path) -> str:
    file, root = file.absolute(), root.absolute()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _windowed(cohort: Cohort) -> Iterator[pa.Table]:
    """Yield the events of the windows of each subject, each event once though windows may overlap."""
    windows: dict[tuple[Path, int], list[EventWindow]] = defaultdict(list)
    for study in cohort.studies:
        for source in study.sources.values():
            if isinstance(source, EventWindow):
                windows[source.file, source.subject].append(source)
    for (file, subject), each in windows.items():
        start, end = min(window.start for window in each), max(window.end for window in each)
        try:
            events = read_events(EventWindow(file, subject, start, end, end))
        except UnreadableSource as reason:
            raise ValueError(f"the windows of a subject cannot be read: {reason}") from None
        yield events.filter(pa.array(_in_any(events, each))).replace_schema_metadata(None)


def _in_any(events: pa.Table, windows: Sequence[EventWindow]) -> np.ndarray:
    times, codes = events["time"].cast(pa.timestamp("us")).to_numpy(), events["code"]
    found = np.zeros(len(events), dtype=bool)
    for window in windows:
        inside = (times >= np.datetime64(window.start, "us")) & (times <= np.datetime64(window.end, "us"))
        if window.codes:
            inside &= pc.is_in(codes.cast(pa.string()), pa.array(window.codes)).to_numpy(zero_copy_only=False)
        found |= inside
    return found


def _study_table(cohort: Cohort, subjects: Mapping[str, int], times: Mapping[str, datetime]) -> str:
    rows = [
        {
            "study_id": study.study_id,
            "patient_id": study.patient_id,
            "subject_id": subjects[study.patient_id],
            "split": study.split,
            "time": times[study.study_id].isoformat() if study.study_id in times else "",
        }
        for study in cohort.studies
    ]
    return pd.DataFrame(rows).to_csv(index=False)
