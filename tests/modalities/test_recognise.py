"""Plugins recognise their files by headers, which are read within bounds and without pixels."""

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from benchmarks.cart_files import NUMBER, WRITERS
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from archives import RADIOGRAPH, write_dicom
from polyclinic.cohort import default_modalities
from polyclinic.modality import Recognised, Scannable, UnreadableSource
from polyclinic_dicom.header import read_header
from polyclinic_ecg import ECG
from polyclinic_tabular import Tabular
from polyclinic_xray import XRay

STATED = {
    "PatientID": "P 1",
    "StudyInstanceUID": "2.25.1",
    "AccessionNumber": "A-1",
    "StudyDate": "20200131",
    "StudyTime": "101559.5",
}
EXPECTED = Recognised(patient="P 1", study="2.25.1", accession="A-1", time="2020-01-31T10:15:59")


def test_a_radiograph_states_what_its_header_holds(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x", ViewPosition="PA", **STATED)
    assert XRay().recognise(path) == EXPECTED
    assert XRay().recognise(write_dicom(tmp_path / "y", ViewPosition="LL", **STATED)).preference == 1
    with pytest.raises(UnreadableSource, match="without an electrocardiogram"):
        ECG().recognise(path)


def test_a_waveform_states_what_its_header_holds(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x", modality="ECG", **STATED)
    assert ECG().recognise(path) == EXPECTED
    with pytest.raises(UnreadableSource, match="of another modality"):
        XRay().recognise(path)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_transfer_syntax_is_read(tmp_path: Path, syntax: str) -> None:
    dataset = pydicom.dcmread(write_dicom(tmp_path / "x", **STATED))
    kept = Dataset()
    for element in dataset:
        if element.keyword != "PixelData":
            setattr(kept, element.keyword, element.value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, RADIOGRAPH
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    written = FileDataset("", kept, file_meta=meta, preamble=b"\0" * 128)
    pydicom.dcmwrite(tmp_path / "y", written, enforce_file_format=True)
    assert read_header(tmp_path / "y").stated == EXPECTED


def test_a_file_without_a_preamble_and_one_with_long_private_elements_are_read(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x", **STATED)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00091001, "OB", bytes(200_000))
    dataset.save_as(tmp_path / "long")
    assert read_header(tmp_path / "long").stated == EXPECTED
    implicit = Dataset(pydicom.dcmread(path))
    implicit.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert (tmp_path / "bare").read_bytes()[:2] == b"\x08\0"
    assert read_header(tmp_path / "bare").stated == EXPECTED


def test_only_the_header_is_parsed(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x", **STATED)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xe0\x7f\x10\0") + 12])
    assert read_header(path).stated == EXPECTED


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_a_header_of_two_patients_or_studies_is_refused(tmp_path: Path, keyword: str) -> None:
    values = {"PatientID": ["P1", "P2"], "StudyInstanceUID": ["2.25.1", "2.25.2"]}[keyword]
    with pytest.raises(UnreadableSource, match=f"header with 2 values of {keyword}, expected one"):
        read_header(write_dicom(tmp_path / "x", **{**STATED, keyword: values}))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ({"AcquisitionDateTime": "20200101"}, "2020-01-01T00:00:00"),
        ({"AcquisitionDateTime": "20200101093000.12+0100"}, "2020-01-01T09:30:00+0100"),
        ({"AcquisitionDate": "20200102", "StudyDate": "20200101"}, "2020-01-02T00:00:00"),
        ({"StudyTime": "101010"}, ""),
        ({}, ""),
    ],
)
def test_times_are_iso_8601(tmp_path: Path, moment: dict[str, str], expected: str) -> None:
    assert read_header(write_dicom(tmp_path / "x", **moment)).stated.time == expected


@pytest.mark.parametrize(
    "content", [b"", b"\x08\0", b"\x08\0" * 400, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\2\0\0\0UL\4\0", b"text"]
)
def test_damaged_headers_are_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for plugin in (XRay(), ECG()):
        with pytest.raises(UnreadableSource):
            plugin.recognise(tmp_path / "x")


def test_a_deflate_bomb_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x", **STATED)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = DeflatedExplicitVRLittleEndian, RADIOGRAPH
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128).save_as(path, enforce_file_format=True)
    packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packed.compress(bytes(2**26)) + packed.flush()
    path.write_bytes(path.read_bytes()[:-2] + bomb)
    with pytest.raises(UnreadableSource, match="deflated DICOM of more than"):
        read_header(path)


@pytest.mark.parametrize("name", WRITERS)
def test_the_export_of_a_cart_is_recognised_by_its_content(name: str, tmp_path: Path) -> None:
    write, suffix, _ = WRITERS[name]
    write(tmp_path / f"a{suffix}", np.random.default_rng(0).normal(0, 0.5, (12, 5000)), 500.0)
    found = ECG().recognise(tmp_path / f"a{suffix}")
    assert (found.study, found.accession, found.preference) == ("", "", 0)
    stated = "" if name in ("edf", "csv") else NUMBER
    assert found.patient == stated


def test_the_first_rows_of_a_table_of_leads_are_checked(tmp_path: Path) -> None:
    lines = ["time_s,I (mV),II (mV)", *(f"{place / 500},0.1,0.2" for place in range(5000))]
    for spoiled, refused in ((3, True), (4000, False)):
        rows = [*lines[:spoiled], "x,y,z", *lines[spoiled + 1 :]]
        (tmp_path / f"{spoiled}.csv").write_text("\n".join(rows))
        if refused:
            with pytest.raises(UnreadableSource, match="not a number in every column"):
                ECG().recognise(tmp_path / f"{spoiled}.csv")
        else:
            assert ECG().recognise(tmp_path / f"{spoiled}.csv") == Recognised()
        with pytest.raises(UnreadableSource, match="not a number in every column"):
            ECG().read(tmp_path / f"{spoiled}.csv")


def test_a_table_of_other_values_is_not_an_electrocardiogram(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,pulse,pressure\n0,70,120\n1,71,121\n")
    with pytest.raises(UnreadableSource):
        ECG().recognise(tmp_path / "a.csv")


def test_a_record_needs_the_files_that_its_header_names(tmp_path: Path) -> None:
    lines = ["r 2 500 10", "r.dat 16 200 16 0 0 0 0 I", "r.dat 16 200 16 0 0 0 0 II"]
    (tmp_path / "r.hea").write_text("\n".join(lines) + "\n")
    with pytest.raises(UnreadableSource, match="WFDB header without 1 of the files that it names"):
        ECG().recognise(tmp_path / "r.hea")
    np.zeros(20, "<i2").tofile(tmp_path / "r.dat")
    assert ECG().recognise(tmp_path / "r.hea") == Recognised()


def test_cells_of_one_study_are_recognised_whatever_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,value,unit\nferritin,20,ug/L\n")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n3,4\n")
    assert Tabular().recognise(tmp_path / "a.csv") == Recognised()
    with pytest.raises(UnreadableSource, match="CSV with 2 rows"):
        Tabular().recognise(tmp_path / "b.csv")


def test_three_plugins_recognise_headers() -> None:
    scannable = [name for name, plugin in default_modalities().items() if isinstance(plugin, Scannable)]
    assert scannable == ["ecg", "tabular", "xray"]
