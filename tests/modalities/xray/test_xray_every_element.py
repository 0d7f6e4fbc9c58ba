"""A mark in every element of the DICOM standard: none is written out, and the image reads the same."""

import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from benchmarks.dicom_elements import READ, Place, places, plant
from pydicom.dataset import Dataset

from polyclinic.modality import Identity, clean_dicom
from polyclinic.modality.physiology import Patient
from polyclinic_dicom.write import STANDARD
from polyclinic_xray import XRay

IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711")
PACKED = {"UL": "<L", "SL": "<l", "FL": "<f", "FD": "<d", "UV": "<Q", "SV": "<q"}
NUMBERS = {"US": 47_115, "SS": -27_115, "FL": 2_011_471_104.0, "FD": 2_011_471_147.25, "DS": "2011471147.25"}
FIXED = {
    **{"DA": "19610829", "TM": "094711.471147", "DT": "19610829094711.471147", "AS": "104Y"},
    **{"AT": 0x47114711, "UR": "http://QZ00000000Q.example"},
}


def phantom(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    return XRay().phantom(Patient(rng).visit(rng), rng, folder / "study")


def mark(place: Place) -> Any:
    text = f"QZ{place.tag:08X}Q"
    if place.vr == "SQ":
        return [nested(text, deep=place.tag % 16 == 0)]
    if place.vr[0] == "O" or place.vr == "UN":
        return (text.encode() + b" ").ljust(16)
    if place.vr == "UI":
        return f"1.2.840.10008.471147.{place.tag}"
    return FIXED.get(place.vr) or NUMBERS.get(place.vr) or (2_011_471_147 if place.vr in (*PACKED, "IS") else text)


def nested(text: str, *, deep: bool = True) -> Dataset:
    """Make an item with free text, a date, a UID, a picture, private elements and a similar item inside."""
    item = Dataset()
    item.PatientName = item.CodeMeaning = item.CodeValue = text
    item.CodingSchemeDesignator, item.StudyDate, item.ReferencedSOPInstanceUID = "SRT", "19610829", "1.2.471147"
    item.add_new(0x7FE00010, "OB", text.encode() + b" ")
    item.add_new(0x00430010, "LO", text)
    item.add_new(0x00431001, "LO", text)
    if deep:
        item.ContentSequence = [nested(text, deep=False)]
    return item


def needles() -> set[bytes]:
    """Return the encoded planted values that are too long to occur in a file by chance."""
    encoded = {struct.pack(PACKED[vr], NUMBERS.get(vr, 2_011_471_147)) for vr in PACKED}
    encoded |= {b"2011471147", b"471147", b"19610829", b"094711.471147", b"104Y"}
    return encoded | {struct.pack("<HH", 0x4711, 0x4711)}


def marked(folder: Path) -> Path:
    source = phantom(folder)
    dataset = pydicom.dcmread(source)
    assert plant(dataset, mark) > 5000
    dataset.private_block(0x0043, "QZ00000000Q", create=True).add_new(1, "LO", "QZ00000000Q")
    dataset.add_new(0x00091001, "UN", b"QZ00000000Q ")
    dataset.add_new(0xFFFCFFFC, "OB", b"QZ00000000Q ")
    meta = dataset.file_meta
    meta.ImplementationVersionName = meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = "QZ1A"
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.471147", b"QZ00000000Q "
    dataset.preamble = b"QZ00000000Q ".ljust(128, b"Q")
    dataset.save_as(source)
    source.write_bytes(source.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x0c\0\0\0QZ00000000Q ")
    return source


def test_no_mark_of_a_standard_element_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = XRay().read(phantom(tmp_path))
        cleaned = XRay().deidentify(marked(tmp_path), tmp_path / "out/abc", IDENTITY, suspects=False)
        written = cleaned.source
        assert isinstance(written, Path)
        dataset = pydicom.dcmread(written)
        elements = list(dataset.iterall())
        values = {str(element.value) for element in elements if element.keyword != "PixelData"}
    header = written.read_bytes().replace(dataset.PixelData, b"")
    assert not re.findall(rb"QZ[0-9A-F]", header)
    assert [needle for needle in needles() if needle in header] == []
    assert not {str(number) for number in NUMBERS.values()} & values
    assert not [element for element in elements if element.tag.is_private]
    np.testing.assert_array_equal(XRay().read(written).pixels, before.pixels)
    assert cleaned.removed["elements not on the list"] > 4500
    assert cleaned.removed["values that fail their check"] > 30
    assert dataset.PatientAge == "090Y"


@pytest.mark.parametrize("vr", ["LO", "IS", "OB", "SQ"])
def test_elements_used_by_readers_are_cleaned_too(vr: str) -> None:
    planted = Dataset()
    for keyword in READ:
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag is not None
        planted.add_new(tag, vr, mark(Place(tag, vr, keyword)))
    clean, removed = clean_dicom(planted, identity=IDENTITY, standard=STANDARD)
    assert set(clean.dir()) & READ <= {"SOPClassUID", "WaveformSequence"}
    assert "QZ" not in str(clean)
    assert "2011471147" not in str(clean)
    assert removed["values that fail their check"] > 20


def test_the_list_of_places_covers_the_standard() -> None:
    assert len({place.tag for place in places()}) > 5000
