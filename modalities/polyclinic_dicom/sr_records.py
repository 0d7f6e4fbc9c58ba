"""Read the texts and numbers of DICOM structured reports (PS3.3 A.35) as clinical records."""

import re
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from polyclinic.modality import (
    Measurement,
    Moment,
    Omission,
    PatientNumber,
    RecordFile,
    UnreadableSource,
    Value,
    WrittenReport,
)
from polyclinic.modality.records import Precision, Standing
from polyclinic_dicom.header import read_header
from polyclinic_dicom.parse import parse_dicom

_SR = "1.2.840.10008.5.1.4.1.1.88."
_READ = frozenset(_SR + each for each in ("11", "22", "33", "34", "35"))
"""Basic Text, Enhanced, Comprehensive, Comprehensive 3D and Extensible SR (PS3.4 B.5)."""

_MAX_INFLATED_BYTES = 2**26
_MAX_ITEMS = 20_000
_MAX_DEPTH = 40
_SYSTEMS = {"LN": "LOINC", "SCT": "SNOMED", "UCUM": "UCUM"}
_MAX_FLOAT32 = 3.4e38
_FORMS: dict[int, tuple[str, Precision]] = {
    8: ("%Y%m%d", "day"),
    10: ("%Y%m%d%H", "hour"),
    12: ("%Y%m%d%H%M", "minute"),
    14: ("%Y%m%d%H%M%S", "second"),
}
"""Formats of dates with times by their number of digits."""

_OFFSET = re.compile(r"[+-][0-9]{4}")


class _Item(NamedTuple):
    """A content item and its depth in the tree."""

    dataset: Dataset
    depth: int


def read_sr(path: Path) -> RecordFile | None:
    """Read a structured report; None for a file that is not DICOM, or DICOM of another kind.

    The text of the report has one line for each content item, under the headings of its containers. Numbers are
    measurements as well, with their units. Items by reference are left out: they stand elsewhere in the tree.

    Raises:
        UnreadableSource: the file is damaged, or its tree is too deep or too large.
    """
    try:
        header = read_header(path)
    except UnreadableSource:
        return None
    if not header.sop_class.startswith(_SR) and header.modality != "SR":
        return None
    if header.sop_class not in _READ:
        return RecordFile(omitted=[Omission("other-document")])
    dataset = parse_dicom(path, max_inflated=_MAX_INFLATED_BYTES, expected="structured report")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about every odd value of elements that decide nothing here
        try:
            return _records(dataset)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"structured report that cannot be parsed ({type(error).__name__})") from None


def _records(dataset: Dataset) -> RecordFile:
    if _text(dataset, "ContentQualification") == "RESEARCH":
        return RecordFile(omitted=[Omission("research")])
    found = RecordFile()
    items = list(_walk(dataset))
    common = _common(dataset)
    for item in items:
        if _text(item.dataset, "ValueType") == "NUM":
            _add_measurement(item.dataset, common, found)
    text = "\n".join(line for item in items if (line := _line(item)))
    if not text:
        found.omitted.append(Omission("empty"))
        return found
    accession = _text(dataset, "AccessionNumber")
    found.reports.append(
        WrittenReport(
            patient=common.patient,
            identity=common.identity,
            standing=common.standing,
            supersedes=common.supersedes,
            time=common.time,
            available=common.available,
            accession=accession,
            text=text,
        )
    )
    return found


class _Common(NamedTuple):
    """What all records of a report share."""

    patient: PatientNumber | None
    identity: tuple[str, ...]
    supersedes: tuple[tuple[str, ...], ...]
    standing: Standing
    time: Moment | None
    available: Moment | None
    zone: str


def _common(dataset: Dataset) -> _Common:
    issuer = _text(dataset, "IssuerOfPatientID")
    number, zone = _text(dataset, "PatientID"), _text(dataset, "TimezoneOffsetFromUTC")
    written = _moment(_text(dataset, "ContentDate") + _text(dataset, "ContentTime"), zone)
    examined = _moment(_text(dataset, "StudyDate") + _text(dataset, "StudyTime"), zone)
    is_open = _text(dataset, "CompletionFlag") == "PARTIAL" or _text(dataset, "PreliminaryFlag") == "PRELIMINARY"
    predecessors = tuple(("dicom", uid) for uid in _predecessors(dataset))
    return _Common(
        patient=PatientNumber(number, f"dicom {issuer}".strip()) if number else None,
        identity=("dicom", _text(dataset, "SOPInstanceUID")),
        supersedes=predecessors,
        standing="preliminary" if is_open else "corrected" if predecessors else "final",
        time=examined or written,
        available=written,
        zone=zone,
    )


def _walk(root: Dataset) -> Iterator[_Item]:
    """Yield the content items in the order of the tree, without recursion.

    Raises:
        UnreadableSource: there are too many of them, or they are nested too deep.
    """
    waiting, count = [_Item(root, 0)], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > _MAX_ITEMS or item.depth > _MAX_DEPTH:
            raise UnreadableSource(
                f"structured report of more than {_MAX_ITEMS:,} content items or {_MAX_DEPTH} levels"
            )
        if item.dataset.get("ReferencedContentItemIdentifier") is not None:
            continue
        yield item
        children = item.dataset.get("ContentSequence") or []
        waiting += [_Item(child, item.depth + 1) for child in reversed(children)]


def _line(item: _Item) -> str:
    """Return a content item as a line of text; empty for one that is not text, a code, a number or a heading."""
    dataset, kind = item.dataset, _text(item.dataset, "ValueType")
    name = _meaning(dataset, "ConceptNameCodeSequence")
    if kind == "CONTAINER":
        has_children = bool(dataset.get("ContentSequence"))
        return f"{name.upper()}:" if item.depth and name and has_children else ""
    value = ""
    if kind == "TEXT":
        value = str(dataset.get("TextValue") or "").strip()
    elif kind == "CODE" and item.depth == 1 and _text(dataset, "RelationshipType") != "CONTAINS":
        return ""  # language, observer and procedure of the whole document
    elif kind == "CODE":
        value = _meaning(dataset, "ConceptCodeSequence")
    elif kind == "NUM":
        value = _number_text(dataset)
    return f"{name}: {value}" if name and value else value


def _number_text(dataset: Dataset) -> str:
    measured = dataset.get("MeasuredValueSequence") or []
    if not measured:
        return ""
    unit = next(iter(measured[0].get("MeasurementUnitsCodeSequence") or []), Dataset())
    return f"{measured[0].get('NumericValue', '')} {_shown_unit(unit)}".strip()


def _shown_unit(unit: Dataset) -> str:
    return "" if _text(unit, "CodeValue") in ("1", "{unit}") else _text(unit, "CodeValue")


def _add_measurement(dataset: Dataset, common: _Common, found: RecordFile) -> None:
    measured = dataset.get("MeasuredValueSequence") or []
    code = _code(dataset, "ConceptNameCodeSequence")
    reason = "" if len(measured) == 1 else "without-value" if not measured else "unsupported-value"
    value = None if reason else _value(measured[0])
    if reason := reason or ("" if value else "out-of-range") or ("" if code else "without-code"):
        found.omitted.append(Omission(reason))
        return
    stated = _moment(_text(dataset, "ObservationDateTime"), common.zone)
    found.measurements.append(
        Measurement(
            patient=common.patient,
            identity=common.identity,
            supersedes=common.supersedes,
            standing=common.standing,
            time=stated or common.time,
            available=common.available,
            code=code,
            value=value,
        )
    )


def _value(measured: Dataset) -> Value | None:
    """Return the measured number with its unit; None where it does not fit into 32 bits."""
    number = float(measured.NumericValue)
    if not abs(number) <= _MAX_FLOAT32:
        return None
    unit = next(iter(measured.get("MeasurementUnitsCodeSequence") or []), Dataset())
    system = _text(unit, "CodingSchemeDesignator")
    return Value(number=number, unit=_text(unit, "CodeValue"), unit_system=_SYSTEMS.get(system, system))


def _predecessors(dataset: Dataset) -> Iterator[str]:
    """Yield the SOP Instance UIDs of the documents that this one replaces."""
    for study in dataset.get("PredecessorDocumentsSequence") or []:
        for series in study.get("ReferencedSeriesSequence") or []:
            for each in series.get("ReferencedSOPSequence") or []:
                yield _text(each, "ReferencedSOPInstanceUID")


def _code(dataset: Dataset, keyword: str) -> str:
    for item in dataset.get(keyword) or []:
        system = _text(item, "CodingSchemeDesignator")
        value = _text(item, "CodeValue") or _text(item, "LongCodeValue")
        if value:
            return f"{_SYSTEMS.get(system, system) or 'local'}//{value}"
        if meaning := _text(item, "CodeMeaning"):
            return f"text//{meaning}"
    return ""


def _meaning(dataset: Dataset, keyword: str) -> str:
    return next((_text(item, "CodeMeaning") for item in dataset.get(keyword) or []), "")


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _moment(stamp: str, zone: str) -> Moment | None:
    """Return a DICOM date and time (PS3.5 6.2, DT); None where it is invalid, or only a year or a month."""
    sign = max(stamp.rfind("+"), stamp.rfind("-"))
    digits, offset = (stamp[:sign], stamp[sign:]) if sign >= 8 else (stamp, zone)
    whole, _, fraction = digits.partition(".")
    if len(whole) not in _FORMS or not whole.isascii() or not whole.isdecimal():
        return None
    form, precision = _FORMS[len(whole)]
    try:
        stated = datetime.strptime(whole, form)
        if fraction:
            stated += timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
        if offset:
            stated = stated.replace(tzinfo=_zone(offset))
    except ValueError:
        return None
    return Moment.of(stated, precision)


def _zone(offset: str) -> timezone:
    """Return the zone of an offset such as ``+0100``.

    Raises:
        ValueError: it is none.
    """
    if not _OFFSET.fullmatch(offset):
        raise ValueError
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes))
