"""FHIR R4: values, subjects and references, reports, and JSON that is hostile or of another version."""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from polyclinic.cohort.ward import json_documents
from polyclinic.cohort.ward.fhir import FhirReader
from polyclinic.cohort.ward.left_out import LeftOut
from polyclinic.modality import Measurement, PatientNumber, Value, WrittenReport
from ward_files import LOINC, UCUM, bundle, observation, patient, write_json


class Read:
    """What a reader found in some files."""

    def __init__(self, *files: Path) -> None:
        left_out = LeftOut()
        reader = FhirReader(left_out)
        for file in files:
            reader.read(file, file.name)
        records = [record for _, record in reader.records()]
        self.results = [each for each in records if isinstance(each, Measurement)]
        self.reports = [each for each in records if isinstance(each, WrittenReport)]
        self.left_out, self.listed = left_out.counts(), left_out.as_json()


def one_value(folder: Path, **elements: Any) -> Value:
    found = Read(write_json(folder / "b.json", bundle(patient(), observation(valueQuantity=None, **elements))))
    assert found.left_out == {}
    [result] = found.results
    assert result.value is not None
    return result.value


def test_a_result_has_its_code_unit_time_and_patient(tmp_path: Path) -> None:
    limits = [{"low": {"value": 12, "code": "g/dL", "system": UCUM}, "high": {"value": 160, "unit": "g/L"}}]
    resource = observation(referenceRange=limits, issued="2024-01-02T12:00:00Z")
    [result] = Read(write_json(tmp_path / "b.json", bundle(patient(), resource))).results
    assert result.code == "LOINC//718-7"
    assert result.value == Value(number=13.2, unit="g/dL", unit_system="UCUM")
    assert (result.range.low, result.range.high) == (12, None), "a limit in another unit is not converted"
    assert result.time is not None
    assert (result.time.time, result.time.offset) == (datetime(2024, 1, 2, 10), 60)
    assert result.patient == PatientNumber("4711", "fhir urn:hospital")
    assert result.standing == "final"


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"valueQuantity": {"value": 0.1, "comparator": "<", "unit": "mg/l"}},
         Value(text="<0.1", comparator="<", unit="mg/l")),
        ({"valueQuantity": {"value": 7, "unit": "Einheiten"}}, Value(number=7, unit="Einheiten")),
        ({"valueInteger": 3}, Value(number=3)),
        ({"valueString": " trace "}, Value(text="trace")),
        ({"valueBoolean": True}, Value(text="true")),
        ({"valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "260373001",
                                               "display": "Detected"}]}},
         Value(text="Detected", coded="SNOMED//260373001")),
        ({"valueRange": {"low": {"value": 1, "unit": "x"}, "high": {"value": 5, "unit": "x"}}},
         Value(text="1-5", unit="x")),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, Value(text="1:128")),
    ],
)  # fmt: skip
def test_values_stay_as_they_were_sent(tmp_path: Path, elements: dict[str, Any], expected: Value) -> None:
    if "valueQuantity" in elements:
        found = Read(write_json(tmp_path / "b.json", bundle(patient(), observation(**elements))))
        assert [each.value for each in found.results] == [expected]
    else:
        assert one_value(tmp_path, **elements) == expected


def test_components_are_results_and_share_a_version(tmp_path: Path) -> None:
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": {"value": value, "unit": "mm[Hg]"}}
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    resource = observation(valueQuantity=None, component=parts)
    found = Read(write_json(tmp_path / "b.json", bundle(patient(), resource)))
    assert [(each.code, each.value and each.value.number) for each in found.results] == [
        ("LOINC//8480-6", 120),
        ("LOINC//8462-4", 80),
    ]
    assert len({(each.identity, each.sequence) for each in found.results}) == 1


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"valueQuantity": None, "dataAbsentReason": {"text": "clotted"}}, "without-value"),
        ({"valueQuantity": {"unit": "g/dL"}}, "without-value"),
        ({"valueQuantity": {"value": 1, "comparator": "ad"}}, "unsupported-value"),
        ({"valueQuantity": {"value": 1e300}}, "out-of-range"),
        ({"valueInteger": 10**39, "valueQuantity": None}, "broken"),
        ({"valueQuantity": None, "valueSampledData": {"origin": {"value": 0}, "period": 1, "dimensions": 1}},
         "unsupported-value"),
        ({"code": {}}, "without-code"),
        ({"subject": None}, "without-patient"),
        ({"subject": {"display": "the same as before"}}, "without-patient"),
        ({"subject": {"reference": "Patient/p9"}}, "unknown-subject"),
        ({"subject": {"reference": "#p9"}}, "unknown-subject"),
        ({"subject": "Patient/p1"}, "broken"),
        ({"effectiveDateTime": "2024-01-02T10:00:00"}, "broken"),
        ({"effectiveDateTime": "2024-13-45"}, "broken"),
        ({"bodyStructure": {"reference": "BodyStructure/1"}}, "broken"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_counted(tmp_path: Path, elements: dict[str, Any], reason: str) -> None:
    found = Read(write_json(tmp_path / "b.json", bundle(patient(), observation(**elements), observation("o2"))))
    assert found.left_out == {reason: 1}
    assert len(found.results) == 1
    assert "4711" not in json.dumps(found.listed)


def test_what_a_history_deletes_is_withdrawn(tmp_path: Path) -> None:
    history = bundle(patient(), observation("a"), observation("b"))
    history |= {"type": "history"}
    history["entry"] += [{"request": {"method": "DELETE", "url": "Observation/a"}}, {"request": "none"}, {}]
    found = Read(write_json(tmp_path / "b.json", history))
    assert len(found.results) == 1
    assert found.left_out == {"empty": 2, "withdrawn": 1}


def test_two_patients_of_one_bundle_are_kept_apart(tmp_path: Path) -> None:
    resources = [patient("p1", "1"), patient("p2", "2"), observation("a", "Patient/p2"), observation("b", "Patient/p1")]
    found = Read(write_json(tmp_path / "b.json", bundle(*resources)))
    assert [each.patient and each.patient.value for each in found.results] == ["2", "1"]


def test_references_lead_to_their_bundle_first_and_to_one_patient_of_the_folder(tmp_path: Path) -> None:
    first = write_json(tmp_path / "1.json", bundle(patient("p1", "1"), observation("a")))
    second = write_json(tmp_path / "2.json", bundle(patient("p1", "2"), observation("b", "Patient/p1/_history/3")))
    alone = write_json(tmp_path / "3.ndjson", observation("c"), observation("d", "Patient/p7"), patient("p7", "7"))
    found = Read(first, second, alone)
    assert [each.patient and each.patient.value for each in found.results] == ["1", "2", "7"]
    assert found.left_out == {"ambiguous-patient": 1}


def test_urls_identifiers_and_contained_patients_are_subjects(tmp_path: Path) -> None:
    server = "https://fhir.example/r4"
    absolute = write_json(
        tmp_path / "1.json", bundle(patient(), observation("a", f"{server}/Patient/p1"), server=server)
    )
    logical = observation("b", subject={"identifier": {"system": "urn:hospital", "value": "8"}})
    contained = observation("c", "#x", contained=[patient("x", "9")])
    found = Read(absolute, write_json(tmp_path / "2.json", bundle(logical, contained)))
    assert [each.patient and each.patient.value for each in found.results] == ["4711", "8", "9"]
    assert not found.left_out


def test_patients_without_numbers_of_two_servers_differ(tmp_path: Path) -> None:
    files = [
        write_json(
            tmp_path / f"{name}.json", bundle(patient(record=None), observation(), server=f"https://{name}.example")
        )
        for name in "ab"
    ]
    found = Read(*files)
    assert len({each.patient for each in found.results}) == 2
    assert len({each.patient and each.patient.value for each in found.results}) == 1


def report(**elements: Any) -> dict[str, Any]:
    resource = {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": {"text": "Chest"},
        "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2024-01-02", **elements,
    }  # fmt: skip
    return {name: element for name, element in resource.items() if element is not None}


def form(kind: str, text: str | bytes = "Lungs clear.") -> dict[str, Any]:
    data = text if isinstance(text, bytes) else text.encode()
    return {"contentType": kind, "data": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ({"conclusion": "Normal chest."}, "Normal chest."),
        ({"presentedForm": [form("text/html", "<p>x</p>"), form("text/plain; charset=UTF-8")]}, "Lungs clear."),
        ({"presentedForm": [form("text/plain;charset=iso-8859-1", "Größe".encode("latin-1"))]}, "Größe"),
        ({"presentedForm": [form("application/pdf", b"%PDF-1.4")], "conclusion": "Normal."}, "Normal."),
    ],
)
def test_reports_have_their_text(tmp_path: Path, elements: dict[str, Any], text: str) -> None:
    found = Read(write_json(tmp_path / "b.json", bundle(patient(), report(**elements))))
    assert [each.text for each in found.reports] == [text]
    assert not found.left_out


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"presentedForm": [form("application/pdf", b"%PDF-1.4")]}, "document"),
        ({"presentedForm": [{"contentType": "text/plain", "url": "https://x.example/Binary/1"}]}, "document"),
        ({"presentedForm": [form("text/plain; charset=utf-8", b"\xff\xfe\xfa")]}, "charset"),
        ({"presentedForm": [form("text/plain; charset=nonsense")]}, "charset"),
        ({"presentedForm": [form("text/plain"), form("text/plain", "other")]}, "ambiguous-text"),
        ({"presentedForm": [{"contentType": "text/plain", "data": "!!!"}]}, "broken"),
        ({}, "empty"),
    ],
)
def test_reports_without_a_text_are_counted(tmp_path: Path, elements: dict[str, Any], reason: str) -> None:
    found = Read(write_json(tmp_path / "b.json", bundle(patient(), report(**elements))))
    assert found.left_out == {reason: 1}
    assert not found.reports


def test_accession_numbers_come_from_the_report_or_its_order(tmp_path: Path) -> None:
    kind = {"coding": [{"code": "ACSN"}]}
    order = {
        "resourceType": "ServiceRequest", "id": "s1", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/p1"}, "identifier": [{"type": kind, "value": "A9"}],
    }  # fmt: skip
    by_order = report(conclusion="x", basedOn=[{"reference": "ServiceRequest/s1"}])
    own = report(id="r2", conclusion="y", identifier=[{"type": kind, "value": "A8"}])
    found = Read(write_json(tmp_path / "b.json", bundle(patient(), by_order, own, order)))
    assert [each.accession for each in found.reports] == ["A9", "A8"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "broken"),
        ('{"resourceType": "Observation", "status": "fi', "broken"),
        ('{"resourceType": "Bundle", "entry": "none"}', "broken"),
        ('{"resourceType": "Patient", "resourceType": "Patient"}', "broken"),
        ('{"resourceType": "Patient", "x": NaN}', "broken"),
        ('{"resourceType": "Patient", "x": 1e99999}', "broken"),
        ('{"resourceType": "Patient", "x": 1e99999999999999999999999}', "broken"),
        ('{"resourceType": "Patient", "x": 1e' + "9" * 5000 + "}", "broken"),
        ('{"resourceType": "Patient", "x": 0.' + "9" * 5000 + "}", "broken"),
        ('{"resourceType": "Patient", "x": ' + "9" * 5000 + "}", "broken"),
        ('{"x": ' + "[" * 100 + "]" * 100 + "}", "broken"),
        ('{"x": ' + "[" * 200_000, "broken"),
        ('{"x": ' + '{"a":' * 200_000 + "1" + "}" * 200_001, "broken"),
        ('[{"resourceType": "Patient"}]', "not-a-record"),
        ('{"some": "JSON"}', "not-a-record"),
        ('{"resourceType": "DOE JOHN 4711"}', "not-a-record"),
        ('{"resourceType": "MedicationRequest"}', "other-resource"),
    ],
)
def test_json_that_is_not_read(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "b.json").write_text(content)
    found = Read(tmp_path / "b.json")
    assert found.left_out == {reason: 1}
    assert "DOE" not in json.dumps(found.listed)


def test_json_of_another_character_set_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(json.dumps(patient()).encode("utf-16"))
    assert Read(tmp_path / "b.json").left_out == {"charset": 1}


def test_files_and_lines_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "MAX_BYTES", 2000)
    lines = write_json(tmp_path / "b.ndjson", patient(), observation(), observation("x", note=[{"text": "y" * 3000}]))
    assert Read(lines).left_out == {"too-large": 1}
    assert len(Read(lines).results) == 1
    (tmp_path / "c.json").write_text(json.dumps(bundle(patient(), *map(observation, "abcdef")), indent=1))
    assert Read(tmp_path / "c.json").left_out == {"too-large": 1}


def test_a_broken_line_leaves_the_others(tmp_path: Path) -> None:
    file = write_json(tmp_path / "b.ndjson", patient(), observation("a"), observation("b"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "", lines[1][:40], lines[2]]))
    found = Read(file)
    assert (len(found.results), found.left_out) == (1, {"broken": 1})


@pytest.mark.parametrize(
    "resource",
    [
        observation(triggeredBy=[{"observation": {"reference": "Observation/1"}, "type": "reflex"}]),
        observation(comments="DSTU2 had comments on 4711"),
        {**patient("p2"), "careProvider": [{"reference": "Practitioner/1"}]},
        report(conclusion="x", codedDiagnosis=[{"text": "DSTU2"}]),
    ],
)
def test_other_versions_of_fhir_are_named_without_values(tmp_path: Path, resource: dict[str, Any]) -> None:
    found = Read(write_json(tmp_path / "b.json", bundle(patient(), resource)))
    assert found.left_out == {"broken": 1}
    why = found.listed["broken"]["listed"][0]["why"]
    assert "does not follow FHIR R4" in why
    assert "4711" not in why
