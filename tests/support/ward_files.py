"""Records as wards send them: HL7 v2 messages, FHIR resources and DICOM structured reports, written field by field."""

import json
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"


def message(*segments: str, sent: str = "20240102120000", header: str = "", end: str = "\r") -> str:
    """Return an ORU^R01 message with some segments."""
    header = header or f"MSH|^~\\&|LAB|HOSP|PC|PC|{sent}||ORU^R01^ORU_R01|1|P|2.5.1"
    return end.join([header, *segments, ""])


def pid(number: str = "4711", authority: str = "HOSP") -> str:
    """Return the segment of a patient."""
    return f"PID|1||{number}^^^{authority}^MR||DOE^JOHN"


def obr(order: str = "F1", time: str = "202401021000", status: str = "F") -> str:
    """Return the segment of an order."""
    return f"OBR|1|P1|{order}|CBC^Blood count^L|||{time}||||||||||||||||||{status}"


def obx(value: str, *, kind: str = "NM", code: str = "718-7^Hemoglobin^LN", status: str = "F", **fields: str) -> str:
    """Return the segment of a result; ``fields`` are ``unit``, ``sub``, ``range`` and ``time``."""
    sub, unit, limits, time = (fields.get(name, "") for name in ("sub", "unit", "range", "time"))
    return "|".join(["OBX", "1", kind, code, sub, value, unit, limits, "", "", "", status, "", "", time])


def observation(number: str = "o1", of: str = "Patient/p1", **elements: Any) -> dict[str, Any]:
    """Return an Observation of 13.2 g/dL haemoglobin, with further or other elements; None removes one."""
    resource = {
        "resourceType": "Observation",
        "id": number,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "718-7"}]},
        "subject": {"reference": of},
        "effectiveDateTime": "2024-01-02T10:00:00+01:00",
        "valueQuantity": {"value": 13.2, "unit": "g/dL", "system": UCUM, "code": "g/dL"},
        **elements,
    }
    return {name: element for name, element in resource.items() if element is not None}


def patient(number: str = "p1", record: str | None = "4711", system: str = "urn:hospital") -> dict[str, Any]:
    """Return a Patient with a medical record number."""
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    identifier = [{"type": kind, "system": system, "value": record}]
    return {"resourceType": "Patient", "id": number, **({"identifier": identifier} if record else {})}


def bundle(*resources: dict[str, Any], server: str = "") -> dict[str, Any]:
    """Return a Bundle; with full URLs if there is a server."""
    entries = []
    for each in resources:
        url = {"fullUrl": f"{server}/{each['resourceType']}/{each['id']}"} if server else {}
        entries.append({**url, "resource": each})
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def write_json(path: Path, *documents: dict[str, Any]) -> Path:
    """Write one JSON document, or several as NDJSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in documents))
    return path


def coded(value: str, system: str, meaning: str) -> Dataset:
    """Return a code sequence item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, system, meaning
    return item


def content(kind: str, name: Dataset, *children: Dataset, value: Any = None, unit: str = "") -> Dataset:
    """Return a content item of kind TEXT, NUM, CODE or CONTAINER."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [name]
    if kind == "TEXT":
        item.TextValue = value
    elif kind == "CODE":
        item.ConceptCodeSequence = [value]
    elif kind == "NUM":
        measured = Dataset()
        measured.NumericValue, measured.MeasurementUnitsCodeSequence = value, [coded(unit, "UCUM", unit)]
        item.MeasuredValueSequence = [measured] if value is not None else []
    else:
        item.ContinuityOfContent, item.ContentSequence = "SEPARATE", list(children)
    return item


def write_sr(path: Path, *children: Dataset, uid: str = "2.25.77", **elements: Any) -> Path:
    """Write a Comprehensive SR with some content, with further or other elements."""
    dataset = content("CONTAINER", coded("18748-4", "LN", "Diagnostic imaging report"), *children)
    del dataset.RelationshipType
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = ComprehensiveSRStorage, uid, "SR"
    dataset.PatientID, dataset.PatientName, dataset.AccessionNumber = "4711", "DOE^JOHN", "A1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.5", "2.25.6"
    dataset.StudyDate, dataset.StudyTime = "20240102", "100000"
    dataset.ContentDate, dataset.ContentTime = "20240102", "113000"
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    FileDataset("", dict(dataset), file_meta=meta, preamble=b"\0" * 128).save_as(path, enforce_file_format=True)
    return path


def write_records(folder: Path) -> Path:
    """Write records of one patient in all three formats, with the name of the patient where it may stand."""
    named = {**patient(), "name": [{"family": "DOE", "given": ["JOHN"]}]}
    write_json(folder / "bundle.json", bundle(named, observation()))
    (folder / "DOE_JOHN.json").write_text('{"resourceType": "Patient", "name": "DOE^JOHN"}')
    text = message(pid(), obr("A7"), obx("Heart normal.", kind="TX", code="71046^Chest^LN"))
    (folder / "oru.hl7").write_text(text + message("DOE^JOHN"))
    finding = content("TEXT", coded("121071", "DCM", "Finding"), value="No effusion.")
    write_sr(folder / "report.dcm", finding)
    return folder
