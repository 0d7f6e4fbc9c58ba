"""Read the records of a ward: list the files, read them, choose versions, and write a cohort."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from polyclinic import __version__
from polyclinic.cohort.cohort import read_cohort
from polyclinic.cohort.scan.archives import describe_archive
from polyclinic.cohort.scan.left_out import LeftOut as FilesLeftOut
from polyclinic.cohort.scan.walk import Entry, walk
from polyclinic.cohort.ward.assumptions import list_assumptions
from polyclinic.cohort.ward.fhir import FhirReader
from polyclinic.cohort.ward.hl7 import read_hl7
from polyclinic.cohort.ward.hl7_segments import is_hl7
from polyclinic.cohort.ward.json_documents import MAX_BYTES, is_json
from polyclinic.cohort.ward.left_out import REASONS, LeftOut
from polyclinic.cohort.ward.plain_text import writable
from polyclinic.cohort.ward.subjects import Patients, subject_ids
from polyclinic.cohort.ward.times import in_zone, is_plausible
from polyclinic.cohort.ward.versions import latest
from polyclinic.cohort.ward.write import write_ward
from polyclinic.files.atomic import atomic_folder
from polyclinic.modality import (
    RECORD_READERS,
    Measurement,
    Moment,
    RecordFile,
    RecordReader,
    UnreadableSource,
    WrittenReport,
)
from polyclinic.system.progress import track

RecordT = TypeVar("RecordT", Measurement, WrittenReport)
Found = list[tuple[str, Measurement | WrittenReport]]
_HEAD_BYTES = 4096
_MAX_SEQUENCE = 2**32
"""More than the versions in one file."""


@dataclass(frozen=True, kw_only=True)
class WardResult:
    """What was written.

    Attributes:
        cohort: path of ``cohort.yaml``; None where the folder has results and no report.
        report: content of ``ward-report.json``.
    """

    cohort: Path | None
    report: Mapping[str, Any]


def installed_readers() -> list[RecordReader]:
    """Load the readers of further formats that plugins register under ``polyclinic.records``, by name."""
    return [point.load() for point in sorted(entry_points(group=RECORD_READERS), key=lambda point: point.name)]


def read_ward(
    folder: Path, *, out: Path, readers: Sequence[RecordReader] | None = None, zone: str | None = None
) -> WardResult:
    """Write the results and reports in the files of a folder, which is only read, as a MEDS dataset and a cohort.

    Args:
        folder: folder of FHIR, HL7 v2 and DICOM files, with its subfolders.
        out: folder that must not exist, outside ``folder``; it appears only when everything is written.
        readers: readers of further formats; the installed ones unless given.
        zone: zone of the hospital, such as ``Europe/Zurich``, into which times with an offset are converted; unless
            set, they keep their wall-clock time.

    Raises:
        ValueError: ``folder`` is not a folder, or has no result and no report; ``out`` exists or lies in it; or the
            zone is unknown.
    """
    hospital = _checked_settings(folder, out, zone)
    left_out = LeftOut()
    entries = _walk(folder, left_out)
    read = _read_all(folder, entries, left_out, installed_readers() if readers is None else readers)
    found = list(writable(read, left_out))
    measurements = latest(((path, each) for path, each in found if isinstance(each, Measurement)), left_out)
    reports = latest(((path, each) for path, each in found if isinstance(each, WrittenReport)), left_out)
    patients = Patients(each.patient for _, each in (*measurements, *reports) if each.patient is not None)
    used = _usable(measurements, patients, hospital, left_out)
    texts = _unrepeated(_usable(reports, patients, hospital, left_out), left_out)
    if not used and not texts:
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.counts().items())
        raise ValueError(
            f"no result and no report of {folder.name or str(folder)!r} can be used ({counts or 'it is empty'}), "
            "expected FHIR R4, HL7 v2 ORU^R01 or DICOM SR; name another folder"
        )
    subjects = subject_ids(patient for patient, _ in (*used, *texts))
    report = {
        "polyclinic": __version__,
        "files": len(entries),
        "patients": len(subjects),
        "measurements": len(used),
        "reports": len(texts),
        "corrected": sum(each.standing == "corrected" for _, each in (*used, *texts)),
        "codes": len({each.code for _, each in used}),
        "zone": zone,
        "assumptions": list_assumptions(used, texts, hospital),
        "left_out": left_out.as_json(),
    }
    with atomic_folder(out) as partial:
        write_ward(partial, used, texts, subjects, report)
        if texts:
            read_cohort(partial / "cohort.yaml")
    return WardResult(cohort=out / "cohort.yaml" if texts else None, report=report)


def _checked_settings(folder: Path, out: Path, zone: str | None) -> ZoneInfo | None:
    if not folder.is_dir():
        raise ValueError(f"got {folder.name or str(folder)!r}, which is not a folder; name the folder to read")
    if out.exists():
        raise ValueError(f"folder {out.name!r} already exists; choose another `--out` or remove it")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ValueError("`--out` lies in the folder to read, to which nothing is written; choose another")
    try:
        return None if zone is None else ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"got zone {zone!r}, expected a name such as Europe/Zurich; set `--zone`") from None


def _walk(folder: Path, left_out: LeftOut) -> list[Entry]:
    other = FilesLeftOut()
    entries = walk(folder.resolve(), other)
    for reason, entry in other.as_json().items():
        for file in entry["files"]:
            left_out.add(reason, file["path"])
    return entries


def _read_all(folder: Path, entries: Sequence[Entry], left_out: LeftOut, readers: Sequence[RecordReader]) -> Found:
    fhir, found = FhirReader(left_out), Found()
    for number, entry in enumerate(track(entries, "reading records")):
        file = folder / entry.path
        try:
            with file.open("rb") as stream:
                head = stream.read(_HEAD_BYTES)
            if reason := describe_archive(file, head)[0]:
                left_out.add(reason, entry.path)
            elif is_json(head):
                fhir.read(file, entry.path)
            elif is_hl7(head):
                found += _of_file(_read_hl7(file, entry), entry.path, left_out, number)
            else:
                found += _of_file(_by_plugins(file, readers), entry.path, left_out, number)
        except UnreadableSource as why:
            left_out.add("unreadable", entry.path, str(why))
        except OSError as error:
            left_out.add("unreadable", entry.path, f"file cannot be opened ({type(error).__name__})")
    found += fhir.records()
    return found


def _read_hl7(file: Path, entry: Entry) -> RecordFile:
    if entry.size > MAX_BYTES:
        raise UnreadableSource(f"HL7 v2 file of more than {MAX_BYTES:,} bytes; split it")
    return read_hl7(file.read_bytes())


def _by_plugins(file: Path, readers: Sequence[RecordReader]) -> RecordFile | None:
    return next((found for read in readers if (found := read(file)) is not None), None)


def _of_file(content: RecordFile | None, path: str, left_out: LeftOut, number: int) -> Iterator[tuple[str, Any]]:
    """Yield the records of a file in order, and count what its reader left out."""
    if content is None:
        left_out.add("not-a-record", path)
        return
    for omission in content.omitted:
        reason = omission.reason if omission.reason in REASONS else "unreadable"
        left_out.add(reason, path, omission.why, omission.count)
    for record in (*content.measurements, *content.reports):
        yield path, replace(record, sequence=number * _MAX_SEQUENCE + record.sequence)


def _usable(
    records: Sequence[tuple[str, RecordT]], patients: Patients, zone: ZoneInfo | None, left_out: LeftOut
) -> list[tuple[str, RecordT]]:
    """Return the records with the id of their patient, without those that lack a patient or a time."""
    used = []
    for path, record in records:
        patient = None if record.patient is None else patients.patient_id(record.patient)
        time = next(filter(is_plausible, (record.time, record.available)), None)
        if record.patient is None:
            left_out.add("without-patient", path)
        elif patient is None:
            left_out.add("ambiguous-patient", path)
        elif time is None:
            left_out.add("without-time", path)
        elif not isinstance(record, Measurement) and not record.text:
            left_out.add("empty", path)
        else:
            issued = record.available if is_plausible(record.available) else None
            available = None if issued is None else _local(issued, zone)
            used.append((patient, replace(record, time=_local(time, zone), available=available)))
    return used


def _local(moment: Moment, zone: ZoneInfo | None) -> Moment:
    try:
        return in_zone(moment, zone)
    except OverflowError:  # at the end of the calendar
        return moment


def _unrepeated(reports: Sequence[tuple[str, WrittenReport]], left_out: LeftOut) -> list[tuple[str, WrittenReport]]:
    """Return the reports without those that repeat a text of the same patient and accession number."""
    seen: Counter[tuple[str, str, str]] = Counter()
    kept = []
    for patient, report in reports:
        key = (patient, report.accession, report.text)
        seen[key] += 1
        if report.accession and seen[key] > 1:
            left_out.add("duplicate", "", "a report that another system sent as well")
        else:
            kept.append((patient, report))
    return kept
