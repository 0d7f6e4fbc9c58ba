"""Roots of MIMIC-IV 2.2, MIMIC-CXR-JPG and MIMIC-IV-ECG side by side, with the events of a test."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from layouts.mimic_cxr import Image, write_mimic_cxr
from layouts.mimic_iv_ecg import Record, write_mimic_iv_ecg

_PATIENTS = ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod")
_ADMISSIONS = (
    "subject_id", "hadm_id", "admittime", "dischtime", "deathtime", "admission_type", "admit_provider_id",
    "admission_location", "discharge_location", "insurance", "language", "marital_status", "race", "edregtime",
    "edouttime", "hospital_expire_flag",
)  # fmt: skip
_LABEVENTS = (
    "labevent_id", "subject_id", "hadm_id", "specimen_id", "itemid", "order_provider_id", "charttime", "storetime",
    "value", "valuenum", "valueuom", "ref_range_lower", "ref_range_upper", "flag", "priority", "comments",
)  # fmt: skip
_RADIOLOGY = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text")


class Admission(NamedTuple):
    subject: int
    hadm: int
    time: str
    discharge: str = ""
    emergency: str = ""


class Lab(NamedTuple):
    event: int
    subject: int
    item: int
    time: str
    stored: str
    value: float | None


class Note(NamedTuple):
    note: str
    subject: int
    time: str
    stored: str
    text: str


def write_hosp(root: Path, admissions: Sequence[Admission], labs: Sequence[Lab]) -> None:
    hosp = root / "hosp"
    hosp.mkdir(parents=True)
    subjects = sorted({admission.subject for admission in admissions})
    patients = [(s, "F" if s % 2 else "M", 50 + s % 40, 2178, "2011 - 2013", "") for s in subjects]
    _write(hosp / "patients.csv.gz", _PATIENTS, patients)
    _write(hosp / "admissions.csv.gz", _ADMISSIONS, [
        (a.subject, a.hadm, a.time, a.discharge, "", "EW EMER.", "P49AFC", "EMERGENCY ROOM", "HOME", "Other", "ENGLISH",
         "MARRIED", "WHITE", a.emergency, "", 0)
        for a in admissions
    ])  # fmt: skip
    _write(hosp / "labevents.csv.gz", _LABEVENTS, [
        (lab.event, lab.subject, "", 1, lab.item, "", lab.time, lab.stored, "___",
         "" if lab.value is None else lab.value, "mg/dL", "", "", "", "ROUTINE", 'said "see, below"')
        for lab in labs
    ])  # fmt: skip


def write_notes(root: Path, notes: Sequence[Note]) -> None:
    (root / "note").mkdir(parents=True)
    rows = [(n.note, n.subject, "", "RR", 1, n.time, n.stored, n.text) for n in notes]
    _write(root / "note" / "radiology.csv.gz", _RADIOLOGY, rows)


def write_mimic(
    root: Path,
    *,
    admissions: Sequence[Admission],
    labs: Sequence[Lab] = (),
    images: Sequence[Image] = (),
    records: Sequence[Record] = (),
) -> None:
    """Write the three data sets into folders as their archives unpack."""
    write_hosp(root / "mimiciv" / "2.2", admissions, labs)
    write_mimic_cxr(root / "mimic-cxr-jpg" / "2.0.0", images)
    write_mimic_iv_ecg(root / "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0", records)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with gzip.open(path, "wt", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
