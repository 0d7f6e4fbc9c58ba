"""Rules of DICOM values: what passes, in which form, and what does not."""

from typing import Any

import pytest

from polyclinic.modality import DicomStandard
from polyclinic.privacy.dicom_elements import ELEMENTS
from polyclinic.privacy.dicom_values import Cleaning, sample_padding
from polyclinic.privacy.identity import Identity

IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711")
STANDARD = DicomStandard(item=dict, keyword=lambda tag: "", sop_classes={"1.2.840.10008.5.1.4.1.1.1"})


def cleaned_values(keyword: str, *values: Any) -> list[Any]:
    return ELEMENTS[keyword](values, Cleaning(identity=IDENTITY, standard=STANDARD, big_endian=False))


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("Modality", "dx ", ["DX"]),
        ("Modality", "DOE", []),
        ("PatientSex", "M", ["M"]),
        ("PatientSex", "MALE DOE", []),
        ("PatientAge", "93Y", ["090Y"]),
        ("PatientAge", "089Y", ["089Y"]),
        ("PatientAge", "003M", ["003M"]),
        ("PatientAge", "born 1950", []),
        ("PatientWeight", "72.123456789", [72.1235]),
        ("PatientWeight", "4711471147", []),
        ("StudyTime", "101500.471147", ["101500.471"]),
        ("StudyTime", "10:15", ["10:15"]),
        ("StudyTime", "555123", []),
        ("StudyDate", "13621201", []),
        ("StudyDate", "20230230", []),
        ("StudyDate", "20240305 Doe", []),
        ("AcquisitionDateTime", "Doe", []),
        ("KVP", "110", [110]),
        ("KVP", "nan", []),
        ("KVP", "1e400", []),
        ("KVP", "Doe", []),
        ("KVP", "0,5", []),
        ("ExposureTime", "12.5", []),
        ("SeriesNumber", "4711471147", []),
        ("WindowCenter", "2048.75", [2048.75]),
        ("WindowCenter", "2048,75", [2048.75]),
        ("WindowCenter", "4711471147", []),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1", ["1.2.840.10008.5.1.4.1.1.1"]),
        ("SOPClassUID", "1.2.840.10008.4711", [IDENTITY.uid("1.2.840.10008.4711")]),
        ("StudyInstanceUID", "1.2.840.10008.5.1.4.1.1.1", [IDENTITY.uid("1.2.840.10008.5.1.4.1.1.1")]),
        ("PixelPaddingValue", b"Doe John", []),
        ("PixelPaddingValue", -2000, [-2000]),
        ("BodyPartExamined", "Chest", ["CHEST"]),
        ("BodyPartExamined", "Mr Doe", []),
    ],
)
def test_a_value_passes_in_its_form_or_not_at_all(keyword: str, value: Any, expected: list[Any]) -> None:
    assert cleaned_values(keyword, value) == expected


def test_samples_of_a_waveform_are_bytes() -> None:
    cleaning = Cleaning(identity=IDENTITY, standard=STANDARD, big_endian=False)
    assert sample_padding([-32768], cleaning) == [b"\0\x80"]
    assert sample_padding([b"\0\x80"], cleaning) == [b"\0\x80"]
    assert sample_padding([b"Doe John"], cleaning) == []


def test_multi_valued_elements_are_cleaned_value_by_value() -> None:
    assert cleaned_values("ImageType", "ORIGINAL", "PRIMARY", "DOE", "AP") == ["ORIGINAL", "PRIMARY"]
    assert cleaned_values("PatientOrientation", "L", "F") == ["L", "F"]
    assert cleaned_values("PatientOrientation", "DOE", "F") == []
    assert cleaned_values("PixelSpacing", "0.143", "0.143000006676") == [0.143, 0.143000006676]
    assert cleaned_values("PixelSpacing", "0.143", "4711") == []
    assert cleaned_values("WindowWidth", *range(1, 99)) == []
    assert cleaned_values("StudyDate", "20240305", "20240306") == []
