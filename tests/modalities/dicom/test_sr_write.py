"""Scores as structured reports: read back by highdicom and pydicom, with stable UIDs and few identifiers."""

from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ComprehensiveSRStorage

from archives import write_dicom
from polyclinic.modality import (
    RESEARCH_TITLE,
    Modality,
    Reportable,
    ResearchFinding,
    ResearchModel,
    ResearchReport,
    UnreadableSource,
)
from polyclinic_dicom.sr_records import read_sr
from polyclinic_ecg import ECG
from polyclinic_xray import XRay

NOT_A_DEVICE = "This is research software and not a medical device."
MODEL = ResearchModel(name="chest", version="0.9", sha256="ab" * 32, not_a_device=NOT_A_DEVICE)
FINDINGS = (
    ResearchFinding(name="pneumonia", value=0.8125, unit="1", interval=(0.7, 0.9), answer="present", reason="",
                    is_probability=True),
    ResearchFinding(name="effusion", value=None, unit="1", interval=None, answer="", reason="there is no calibration",
                    is_probability=True),
    ResearchFinding(name="haemoglobin", value=13.25, unit="grams per decilitre", interval=(12.0, 14.5), answer="",
                    reason="", is_probability=False),
)  # fmt: skip
REPORT = ResearchReport(model=MODEL, content_key="cd" * 32, findings=FINDINGS, notes=("the film is rotated",))
STATED: dict[str, Any] = {
    "PatientID": "4711", "PatientName": "Müller^Jane", "PatientBirthDate": "19600102", "PatientSex": "F",
    "IssuerOfPatientID": "HOSP", "AccessionNumber": "A1", "StudyID": "S1", "StudyDate": "20240102",
    "StudyInstanceUID": "2.25.5", "SeriesInstanceUID": "2.25.6", "SpecificCharacterSet": "ISO_IR 192",
    "ReferringPhysicianName": "House^Gregory", "InstitutionName": "St Elsewhere", "PatientAddress": "Elm Street 1",
    "OperatorsName": "Nurse^Ann", "OtherPatientIDs": "987654",
}  # fmt: skip


def written(plugin: Modality, path: Path, report: ResearchReport = REPORT) -> bytes:
    assert isinstance(plugin, Reportable)
    content = plugin.report(path, report)
    assert content is not None
    return content


def items(dataset: Dataset) -> list[tuple[str, str, Any]]:
    """Return kind, name and value of every content item below the root, in order, by a plain walk."""
    found = []
    for child in dataset.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0].CodeMeaning
        value = child.get("TextValue")
        if child.ValueType == "NUM":
            measured = child.MeasuredValueSequence[0]
            value = (float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeMeaning)
        elif child.ValueType in ("IMAGE", "WAVEFORM"):
            value = child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        found += [(child.ValueType, name, value), *items(child)]
    return found


@pytest.mark.parametrize(("plugin", "modality", "kind"), [(XRay(), "DX", "IMAGE"), (ECG(), "ECG", "WAVEFORM")])
def test_a_report_references_its_source_and_is_marked_as_research(
    tmp_path: Path, plugin: Modality, modality: str, kind: str
) -> None:
    source = write_dicom(tmp_path / "a.dcm", modality=modality, **STATED)
    content = written(plugin, source)
    document = pydicom.dcmread(BytesIO(content))
    assert document.SOPClassUID == ComprehensiveSRStorage
    assert (document.Modality, document.ContentQualification) == ("SR", "RESEARCH")
    assert (document.VerificationFlag, document.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert document.ConceptNameCodeSequence[0].CodeMeaning == RESEARCH_TITLE == document.SeriesDescription
    referenced = pydicom.dcmread(source).SOPInstanceUID
    found = items(document)
    assert (kind, "Source", referenced) in found
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == referenced
    assert found.count(("TEXT", "Comment", NOT_A_DEVICE)) == 1
    assert ("TEXT", "Comment", "the film is rotated") in found
    start = found.index(("CONTAINER", "Finding", None))
    assert [each for each in found[start:] if each[0] != "WAVEFORM"] == [
        ("CONTAINER", "Finding", None),
        ("TEXT", "Name of the finding", "pneumonia"),
        ("NUM", "Probability by a model", (0.8125, "no units")),
        ("NUM", "Lower end of the interval", (0.7, "no units")),
        ("NUM", "Upper end of the interval", (0.9, "no units")),
        ("TEXT", "Answer", "present"),
        ("CONTAINER", "Finding", None),
        ("TEXT", "Name of the finding", "effusion"),
        ("TEXT", "Reason to abstain", "there is no calibration"),
        ("CONTAINER", "Finding", None),
        ("TEXT", "Name of the finding", "haemoglobin"),
        ("NUM", "Estimate", (13.25, "grams per decilitre")),
        ("NUM", "Lower end of the interval", (12.0, "grams per decilitre")),
        ("NUM", "Upper end of the interval", (14.5, "grams per decilitre")),
    ]


def test_highdicom_reads_the_tree_and_cohort_ward_leaves_it_out(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "a.dcm", **STATED)
    (tmp_path / "sr.dcm").write_bytes(written(XRay(), source))
    document = srread(tmp_path / "sr.dcm")
    root = document.content[0]
    assert [each.value_type.value for each in root.ContentSequence].count("CONTAINER") == len(FINDINGS)
    texts = [each.value for each in root.ContentSequence if each.value_type.value == "TEXT"]
    assert texts[-2:] == [NOT_A_DEVICE, "the film is rotated"]
    assert MODEL.sha256 in texts
    assert MODEL.name in texts
    found = read_sr(tmp_path / "sr.dcm")
    assert found is not None
    assert [each.reason for each in found.omitted] == ["research"]


def test_only_what_an_archive_files_by_is_taken_from_the_source(tmp_path: Path) -> None:
    content = written(XRay(), write_dicom(tmp_path / "Doe_Jane.dcm", **STATED))
    document = pydicom.dcmread(BytesIO(content))
    kept = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "AccessionNumber")
    for keyword in (*kept, "StudyInstanceUID", "StudyDate"):
        assert document[keyword].value == STATED[keyword]
    for other in (b"House", b"Elsewhere", b"Elm Street", b"Nurse", b"987654", b"Doe_Jane", b"PixelData"):
        assert other not in content
    assert "PixelData" not in document


def test_uids_are_the_same_for_the_same_study_and_bundle_only(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "a.dcm", **STATED)
    copy = write_dicom(tmp_path / "b.dcm", **STATED)

    def uids(path: Path, report: ResearchReport) -> tuple[str, str]:
        document = pydicom.dcmread(BytesIO(written(XRay(), path, report)))
        assert UID(document.SOPInstanceUID).is_valid
        assert document.file_meta.MediaStorageSOPInstanceUID == document.SOPInstanceUID
        return document.SOPInstanceUID, document.SeriesInstanceUID

    first = uids(source, REPORT)
    assert uids(source, REPORT) == first
    other_bundle = replace(REPORT, model=replace(MODEL, sha256="ef" * 32))
    other_files = replace(REPORT, content_key="00" * 32)
    for different in (uids(source, other_bundle), uids(source, other_files), uids(copy, REPORT)):
        assert not set(different) & set(first)
    assert len(set(first)) == 2


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["", "not a UID", "DOE^JOHN"])
def test_a_source_that_cannot_be_referenced_is_refused_without_its_value(
    tmp_path: Path, keyword: str, value: str
) -> None:
    source = write_dicom(tmp_path / "a.dcm", **STATED)
    dataset = pydicom.dcmread(source)
    with pytest.warns(UserWarning, match="UI") if value else nullcontext():
        setattr(dataset, keyword, value)
        dataset.save_as(source)
    with pytest.raises(UnreadableSource, match=f"valid {keyword}") as refusal:
        written(XRay(), source)
    assert "DOE" not in str(refusal.value)


def test_sources_that_are_not_dicom_have_no_report(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 300)
    assert XRay().report(tmp_path / "a.png", REPORT) is None
    assert ECG().report(tmp_path / "none", REPORT) is None
    assert ECG().report("inline", REPORT) is None


def test_a_source_with_few_identifiers_is_enough(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "a.dcm", StudyInstanceUID="2.25.5", SeriesInstanceUID="2.25.6")
    document = pydicom.dcmread(BytesIO(written(XRay(), source)))
    assert not document.PatientID
    assert not document.PatientName
