"""Write the records of a ward: events in MEDS, reports as studies, patients, and a commented ``cohort.yaml``."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml

from polyclinic.cohort.meds import write_meds
from polyclinic.cohort.scan.joined import SHARES
from polyclinic.cohort.ward.times import known_at
from polyclinic.modality import ENTRY_POINTS, Measurement, Moment, WrittenReport

_ID_LENGTH = 12
_OF_EVENTS = "timeline"
"""Plugin that reads events over time."""

_BEFORE = timedelta(hours=24)

_TEXT = pa.string()
_COLUMNS: dict[str, pa.DataType] = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": _TEXT,
    "numeric_value": pa.float32(),
    "text_value": _TEXT,
    "unit": _TEXT,
    "unit_system": _TEXT,
    "comparator": _TEXT,
    "coded_value": _TEXT,
    "reference_low": pa.float64(),
    "reference_high": pa.float64(),
    "reference_text": _TEXT,
    "status": _TEXT,
    "taken": pa.timestamp("us"),
    "precision": _TEXT,
    "offset_minutes": pa.int32(),
}
"""Columns of the events. ``time`` is when a result was known, so that a window before a report holds no later one."""


def write_ward(
    folder: Path,
    measurements: Sequence[tuple[str, Measurement]],
    reports: Sequence[tuple[str, WrittenReport]],
    subjects: Mapping[str, int],
    report: Mapping[str, Any],
) -> None:
    """Write everything into an empty folder.

    Args:
        folder: folder to fill.
        measurements: id of the patient, and the result.
        reports: id of the patient, and the report.
        subjects: integer of each patient in MEDS.
        report: content of ``ward-report.json``.
    """
    if measurements:
        write_meds(folder / "meds", _events(measurements, subjects), dataset_name="ward")
    table = {"subject_id": list(subjects.values()), "patient_id": list(subjects)}
    pd.DataFrame(table).to_csv(folder / "patients.csv", index=False)
    if reports:
        _studies(reports, subjects).to_csv(folder / "studies.csv", index=False)
        (folder / "cohort.yaml").write_text(_spec(has_events=_any_in_window(measurements, reports)), encoding="utf-8")
    content = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / "ward-report.json").write_text(content, encoding="utf-8")


def _events(measurements: Sequence[tuple[str, Measurement]], subjects: Mapping[str, int]) -> pa.Table:
    rows = [_row(subjects[patient], each) for patient, each in measurements]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _COLUMNS.values(), strict=True)]
    return pa.table(dict(zip(_COLUMNS, arrays, strict=True)))


def _row(subject: int, record: Measurement) -> tuple[Any, ...]:
    value, taken = record.value, record.time
    assert value is not None, "withdrawn records are left out"
    assert taken is not None, "records without a time are left out"
    time = known_at(taken, record.available)
    return (
        *(subject, time.time, record.code, value.number, value.text or None, value.unit or None),
        *(value.unit_system or None, value.comparator or None, value.coded or None),
        *(record.range.low, record.range.high, record.range.text or None),
        *(record.standing, taken.time, time.precision, time.offset),
    )


def _studies(reports: Sequence[tuple[str, WrittenReport]], subjects: Mapping[str, int]) -> pd.DataFrame:
    rows = [
        {
            "study_id": _study_id(each),
            "patient_id": patient,
            "subject_id": subjects[patient],
            "accession": each.accession,
            "time": _shown(each.time),
            "text": each.text,
        }
        for patient, each in reports
    ]
    return pd.DataFrame(rows).sort_values("study_id")


def _study_id(report: WrittenReport) -> str:
    """Return a hash of what identifies the report, as ids are logged and numbers may identify."""
    digest = hashlib.sha256(json.dumps(report.identity).encode()).hexdigest()
    return f"s{digest[:_ID_LENGTH]}"


def _shown(moment: Moment | None) -> str:
    """Return the start of what was stated: results that were known later must not lie before a report."""
    assert moment is not None, "records without a time are left out"
    if moment.precision == "day":
        return moment.time.date().isoformat()
    return (moment.time.replace(minute=0, second=0) if moment.precision == "hour" else moment.time).isoformat()


def _any_in_window(
    measurements: Sequence[tuple[str, Measurement]], reports: Sequence[tuple[str, WrittenReport]]
) -> bool:
    """Return whether a result was known in the day before a report; a modality that no study has is refused."""
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for patient, result in measurements:
        assert result.time is not None, "records without a time are left out"
        times[patient].append(known_at(result.time, result.available).time)
    anchors = ((patient, datetime.fromisoformat(_shown(report.time))) for patient, report in reports)
    return any(anchor - _BEFORE <= time <= anchor for patient, anchor in anchors for time in times[patient])


def _spec(*, has_events: bool) -> str:
    modalities: dict[str, Any] = {"report": {"text": "text"}}
    if has_events and _OF_EVENTS in entry_points(group=ENTRY_POINTS).names:
        before = f"{_BEFORE // timedelta(hours=1)}h"
        modalities[_OF_EVENTS] = {"meds": "meds", "time": "time", "before": before, "subject": "subject_id"}
    parts: list[tuple[str, Mapping[str, Any]]] = [
        ("Proposed by: polyclinic cohort ward. ward-report.json has what was left out and what to check.",
         {"table": "studies.csv"}),
        ("Hashes of what identifies a report.", {"study_id": "study_id"}),
        ("Patient ids as they were sent; patients.csv has their integers in meds/.", {"patient_id": "patient_id"}),
        ("Shares of patients. A column of the table may be named here instead.", {"split": SHARES}),
        ("The text of each report, and the results that were known in the day before it, where a plugin reads them. "
         "Join labels with `polyclinic cohort add` by `accession`.", {"modalities": modalities}),
    ]  # fmt: skip
    return "".join(
        f"# {comment}\n{yaml.safe_dump(dict(entry), sort_keys=False, allow_unicode=True, width=10_000)}"
        for comment, entry in parts
    )
