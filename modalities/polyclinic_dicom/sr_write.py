"""Write scores as a Comprehensive SR (PS3.3 A.35.3) that references its source and is marked as research.

``highdicom`` is in the extra ``wards``: plugins import this module when a report is written.
"""

import hashlib
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    NumContentItem,
    ObserverContext,
    TextContentItem,
    WaveformContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from polyclinic.modality import RESEARCH_TITLE, ResearchFinding, ResearchReport, Source, UnreadableSource
from polyclinic_dicom.header import read_header
from polyclinic_dicom.parse import parse_dicom

_KEPT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "SpecificCharacterSet"),
)
"""Elements of the source by which an archive files the document; other elements are not copied."""

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."
_SCHEME = "99POLYCLINIC"
_MAX_INFLATED_BYTES = 2**30
_MAX_NAME = 64
_SERIES_NUMBER = 9001
_DIGITS = 6


def research_sr(source: Source, report: ResearchReport) -> bytes | None:
    """Return a structured report on a DICOM file; None for a source that is not DICOM.

    Raises:
        UnreadableSource: the file has no identifier of its study, series or instance, or cannot be referenced.
    """
    if not isinstance(source, Path):
        return None
    try:
        read_header(source)
    except UnreadableSource:
        return None
    with warnings.catch_warnings():
        # pydicom and highdicom warn about every odd value that is copied from the source.
        warnings.simplefilter("ignore")
        dataset = parse_dicom(source, max_inflated=_MAX_INFLATED_BYTES, expected="DICOM file")
        try:
            return _document(_evidence(dataset), report)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOM that a report cannot reference ({type(error).__name__})") from None


def document_uid(evidence: Dataset, report: ResearchReport, part: str) -> str:
    """Return a UID that is the same for the same source, study and bundle (PS3.5 B.2, from a hash)."""
    key = f"{part} {evidence.SOPInstanceUID} {report.content_key} {report.model.sha256}"
    return f"2.25.{int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], 'big')}"


def _evidence(source: Dataset) -> Dataset:
    """Return what the document takes from its source.

    Raises:
        UnreadableSource: an identifier is missing or is not a UID.
    """
    evidence = Dataset()
    for keyword in _NEEDED:
        value = str(source.get(keyword) or "").strip()
        if not UID(value).is_valid:
            raise UnreadableSource(f"DICOM without a valid {keyword}, which a report references")
        setattr(evidence, keyword, value)
    for keyword in _KEPT:
        setattr(evidence, keyword, source.get(keyword))
    if issuer := source.get("IssuerOfPatientID"):
        evidence.IssuerOfPatientID = issuer
    return evidence


def _document(evidence: Dataset, report: ResearchReport) -> bytes:
    document = ComprehensiveSR(
        evidence=[evidence],
        content=_content(evidence, report),
        series_instance_uid=document_uid(evidence, report, "series"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=document_uid(evidence, report, "instance"),
        instance_number=1,
        manufacturer="Polyclinic",
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=report.model.name[:_MAX_NAME],
        software_versions=report.model.version[:_MAX_NAME],
        device_serial_number=report.model.sha256[:_MAX_NAME],
    )
    if _is_waveform(evidence):  # highdicom 0.28 makes such items, but its documents refuse them
        document.ContentSequence = Sequence([*map(Dataset, document.ContentSequence), Dataset(_reference(evidence))])
    document.ContentQualification = "RESEARCH"
    document.SeriesDescription = RESEARCH_TITLE
    if "IssuerOfPatientID" in evidence:
        document.IssuerOfPatientID = evidence.IssuerOfPatientID
    written = BytesIO()
    document.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _content(evidence: Dataset, report: ResearchReport) -> Dataset:
    root = ContainerContentItem(name=CodedConcept("research", _SCHEME, RESEARCH_TITLE))
    comment = CodedConcept("121106", "DCM", "Comment")
    texts = [report.model.not_a_device, *report.notes]
    root.ContentSequence = ContentSequence(
        [
            *_observer(evidence, report),
            *(_text(comment, text) for text in texts),
            *([] if _is_waveform(evidence) else [_reference(evidence)]),
            *(_finding(each) for each in report.findings),
        ]
    )
    return root


def _is_waveform(evidence: Dataset) -> bool:
    return str(evidence.SOPClassUID).startswith(_WAVEFORMS)


def _reference(evidence: Dataset) -> Dataset:
    kind = WaveformContentItem if _is_waveform(evidence) else ImageContentItem
    return kind(
        name=CodedConcept("260753009", "SCT", "Source"),
        referenced_sop_class_uid=evidence.SOPClassUID,
        referenced_sop_instance_uid=evidence.SOPInstanceUID,
        relationship_type="CONTAINS",
    )


def _observer(evidence: Dataset, report: ResearchReport) -> list[Dataset]:
    """Return the observer context of a device (PS3.16 TID 1002 and 1004)."""
    attributes = DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{int(report.model.sha256[:32], 16)}",
        name=report.model.name,
        manufacturer_name="Polyclinic",
        model_name=f"{report.model.name} {report.model.version}",
        serial_number=report.model.sha256,
    )
    return list(ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=attributes))


def _finding(finding: ResearchFinding) -> Dataset:
    container = ContainerContentItem(name=CodedConcept("121071", "DCM", "Finding"), relationship_type="CONTAINS")
    items: list[Any] = [_text(CodedConcept("name", _SCHEME, "Name of the finding"), finding.name)]
    for name, number in _numbers(finding):
        value = round(float(number), _DIGITS)
        items.append(NumContentItem(name=name, value=value, unit=_unit(finding.unit), relationship_type="CONTAINS"))
    if finding.answer:
        items.append(_text(CodedConcept("answer", _SCHEME, "Answer"), finding.answer))
    if finding.reason:
        items.append(_text(CodedConcept("abstains", _SCHEME, "Reason to abstain"), finding.reason))
    container.ContentSequence = ContentSequence(items)
    return container


def _numbers(finding: ResearchFinding) -> Iterator[tuple[CodedConcept, float]]:
    """Yield the value and the ends of its interval, with what they are."""
    if finding.value is None:
        return
    meaning = ("probability", "Probability by a model") if finding.is_probability else ("estimate", "Estimate")
    yield CodedConcept(meaning[0], _SCHEME, meaning[1]), finding.value
    if finding.interval is not None:
        yield CodedConcept("low", _SCHEME, "Lower end of the interval"), finding.interval[0]
        yield CodedConcept("high", _SCHEME, "Upper end of the interval"), finding.interval[1]


def _unit(unit: str) -> CodedConcept:
    """Return a unit: 1 of UCUM for a number without one, else the text of the bundle, which may not be UCUM."""
    return CodedConcept(unit[:_MAX_NAME], _SCHEME, unit[:_MAX_NAME]) if unit not in ("", "1") else codes.UCUM.NoUnits


def _text(name: Any, text: str) -> Dataset:
    return TextContentItem(name=name, value=text, relationship_type="CONTAINS")
