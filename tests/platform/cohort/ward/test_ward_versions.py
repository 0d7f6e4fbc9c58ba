"""Versions: corrections replace, withdrawals remove, preliminary results are not used, whatever the order."""

from collections.abc import Sequence
from itertools import permutations

import pytest

from polyclinic.cohort.ward.left_out import LeftOut
from polyclinic.cohort.ward.subjects import Patients, subject_id, subject_ids
from polyclinic.cohort.ward.versions import latest
from polyclinic.modality import Measurement, PatientNumber, Value
from polyclinic.modality.records import Standing


def result(number: float, standing: Standing = "final", version: str = "", sequence: int = 0) -> Measurement:
    return Measurement(
        patient=None, identity=("x",), version=version, sequence=sequence, standing=standing, time=None,
        code="LOINC//1", value=None if standing == "withdrawn" else Value(number=number),
    )  # fmt: skip


def chosen(records: Sequence[Measurement]) -> tuple[list[float | None], dict[str, int]]:
    left_out = LeftOut()
    used = latest([("f", each) for each in records], left_out)
    return [each.value.number if each.value else None for _, each in used], left_out.counts()


@pytest.mark.parametrize(
    ("records", "values", "counts"),
    [
        ([result(1, version="1"), result(2, "corrected", "2")], [2], {"replaced": 1}),
        ([result(1, version="2"), result(2, "corrected", "1")], [1], {"replaced": 1}),
        ([result(1), result(2, "corrected")], [2], {"replaced": 1}),
        ([result(1, version="9"), result(2, "corrected")], [2], {"replaced": 1}),
        ([result(1, version="1"), result(0, "withdrawn", "2")], [], {"replaced": 1, "withdrawn": 1}),
        ([result(1, version="3"), result(0, "withdrawn", "2")], [1], {"withdrawn": 1}),
        ([result(1), result(0, "preliminary", "9")], [1], {"not-final": 1}),
        ([result(1, version="1"), result(1, version="2", sequence=1)], [1], {"duplicate": 1}),
    ],
)
def test_the_latest_version_is_used(records: list[Measurement], values: list[float], counts: dict[str, int]) -> None:
    for order in permutations(records):
        assert chosen(order) == (values, counts)


def test_parts_of_a_version_stay_together() -> None:
    records = [result(120, sequence=1), result(80, sequence=1), result(118, sequence=2), result(79, sequence=2)]
    assert chosen(records) == ([118, 79], {"replaced": 2})


def test_the_order_of_reading_decides_last() -> None:
    assert chosen([result(1, sequence=2), result(2, sequence=1)]) == ([1], {"replaced": 1})


def test_forms_of_a_number_are_one_patient_and_authorities_are_compared_within_a_format() -> None:
    patients = Patients(
        [PatientNumber("007", "hl7 A"), PatientNumber("7", "fhir urn:a"), PatientNumber("7", "dicom"),
         PatientNumber("9", "hl7 A"), PatientNumber("9", "hl7 B"), PatientNumber("9", "hl7")]
    )  # fmt: skip
    assert {patients.patient_id(PatientNumber(*each)) for each in (("7", "dicom"), ("007", "hl7 A"))} == {"007"}
    assert patients.patient_id(PatientNumber("9", "hl7 A")) is None


def test_integers_of_patients_are_the_same_everywhere_and_differ() -> None:
    # echo -n 4711 | sha256sum
    assert subject_id("4711") == int("de650d61f5bd166a", 16) // 2
    subjects = subject_ids(str(number) for number in range(10_000))
    assert len(set(subjects.values())) == 10_000
    assert all(0 <= each < 2**63 for each in subjects.values())


def test_two_patients_with_one_integer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyclinic.cohort.ward.subjects.subject_id", lambda patient: 1)
    with pytest.raises(ValueError, match="same integer"):
        subject_ids(["a", "b"])
