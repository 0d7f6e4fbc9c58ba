"""Radiographs without names: the header by the basic profile, pixels the same, words in them refused."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from polyclinic.modality import Identity, UnreadableSource
from polyclinic.physiology import Patient
from polyclinic_xray import XRay

GOLDEN = sorted((Path(__file__).parents[2] / "golden/dicom").glob("*.dcm"))
SECRET = "DOE^JOHN"
TEXTS = ("LO", "LT", "SH", "ST", "UT", "UC", "PN", "AE")
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(SECRET,))


def phantom(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    return XRay().phantom(Patient(rng).visit(rng), rng, folder / "study")


def edited(folder: Path, edit: Callable[[Dataset], None]) -> Path:
    path = phantom(folder)
    dataset = pydicom.dcmread(path)
    edit(dataset)
    dataset.save_as(path)
    return path


def cleaned(source: Path, folder: Path, *, suspects: bool = False) -> Path:
    (folder / "out").mkdir(exist_ok=True)
    written = XRay().deidentify(source, folder / "out/abc", IDENTITY, suspects=suspects).source
    assert isinstance(written, Path)
    assert [file.name for file in (folder / "out").iterdir()] == [written.name]
    return written


def elements(dataset: Dataset) -> list[pydicom.DataElement]:
    return list(dataset.iterall())


@pytest.mark.parametrize("source", GOLDEN, ids=lambda path: path.stem)
def test_every_golden_file_shows_the_same_pixels_and_is_not_compressed(source: Path, tmp_path: Path) -> None:
    before, after = XRay().read(source), XRay().read(written := cleaned(source, tmp_path))
    np.testing.assert_array_equal(after.pixels, before.pixels)
    assert after.facts["unused_bits"] == "empty"
    assert after.facts["transfer_syntax"] == "1.2.840.10008.1.2.1"
    assert pydicom.dcmread(written).SOPInstanceUID != pydicom.dcmread(source, force=True).get("SOPInstanceUID")


def plant_everywhere(dataset: Dataset) -> None:
    """The name in every element of text that the standard has and a file of this kind may hold, and in others."""
    groups = (8, 0x10, 0x12, 0x18, 0x20, 0x32, 0x38, 0x40)
    for tag, (vr, vm, _, _, keyword) in pydicom.datadict.DicomDictionary.items():
        if keyword and vm == "1" and tag >> 16 in groups and vr in TEXTS and keyword not in dataset:
            setattr(dataset, keyword, SECRET)
    dataset.PatientName = SECRET
    block = dataset.private_block(0x0043, SECRET, create=True)
    block.add_new(1, "LO", SECRET)
    inner = Dataset()
    inner.PatientName, inner.CodeMeaning, inner.ReferencedSOPInstanceUID = SECRET, SECRET, "1.2.3.4"
    outer = Dataset()
    outer.ReferencedStudySequence = [inner]
    outer.OperatorsName = SECRET
    dataset.ViewCodeSequence = [outer, inner]
    dataset.add_new(0x60003000, "OW", SECRET.encode())
    dataset.add_new(0x60004000, "LT", SECRET)
    dataset.add_new(0x50000030, "SH", SECRET)
    dataset.add_new(0x00091001, "UN", SECRET.encode())
    dataset.add_new(0x00189999, "LO", SECRET)
    dataset.ICCProfile = SECRET.encode()
    dataset.file_meta.SourceApplicationEntityTitle = SECRET
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = SECRET.encode()
    dataset.preamble = (SECRET * 16).encode()


def test_a_name_planted_in_every_element_is_nowhere_afterwards(tmp_path: Path) -> None:
    source = edited(tmp_path, plant_everywhere)
    assert source.read_bytes().count(SECRET.encode()) > 300
    source.write_bytes(source.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0" + SECRET.encode())
    written = cleaned(source, tmp_path)
    content = written.read_bytes()
    assert b"DOE" not in content
    assert b"JOHN" not in content
    assert content[:128] == b"\0" * 128
    dataset = pydicom.dcmread(written)
    assert not [e for e in elements(dataset) if e.tag.is_private or e.tag.group >> 8 in (0x50, 0x60) or e.VR == "UN"]
    np.testing.assert_array_equal(XRay().read(written).pixels, XRay().read(source).pixels)
    assert XRay().files(written) == (written,)


def test_ids_are_mapped_and_classes_stay(tmp_path: Path) -> None:
    def fill(dataset: Dataset) -> None:
        dataset.FrameOfReferenceUID = "1.2.840.10008.19610829.1"
        dataset.InstitutionName, dataset.StudyID, dataset.AccessionNumber = "St. Elsewhere", "17", "A17"

    source = edited(tmp_path, fill)
    before, after = pydicom.dcmread(source), pydicom.dcmread(cleaned(source, tmp_path))
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert after[keyword].value == IDENTITY.uid(before[keyword].value)
    assert after.SOPClassUID == before.SOPClassUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert (after.StudyID, after.AccessionNumber) == ("", "")
    assert "Elsewhere" not in str(after)


def test_a_header_says_what_was_done(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(cleaned(phantom(tmp_path), tmp_path))
    assert dataset.PatientName == dataset.PatientID == IDENTITY.patient_id
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [(item.CodeValue, item.CodingSchemeDesignator) for item in dataset.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM"), ("113108", "DCM")]
    assert [one.code for one in XRay().concerns(tmp_path / "out/abc.dcm", XRay().read(tmp_path / "out/abc.dcm"))] == []


def test_dates_move_together_times_stay_births_go_and_great_ages_are_ninety(tmp_path: Path) -> None:
    def age(dataset: Dataset) -> None:
        dataset.StudyDate, dataset.StudyTime = "20240305", "101500"
        dataset.AcquisitionDateTime, dataset.ContentDate = "20240307101500.5+0100", "20240101"
        dataset.SeriesDate = "20240306"
        dataset.PatientBirthDate, dataset.PatientBirthTime, dataset.PatientAge = "19200101", "1200", "104Y"
        item = Dataset()
        item.StudyDate = "20240307"
        dataset.ReferencedStudySequence = [item]

    source = edited(tmp_path, age)
    source.write_bytes(source.read_bytes().replace(b"DA\x08\x0020240101", b"DA\x08\0no date "))
    dataset = pydicom.dcmread(cleaned(source, tmp_path))
    moved = {day: f"{date(2024, 3, day) + timedelta(IDENTITY.days):%Y%m%d}" for day in (5, 6, 7)}
    assert (dataset.StudyDate, dataset.SeriesDate) == (moved[5], moved[6])
    assert dataset.AcquisitionDateTime == f"{moved[7]}101500.5+0100"
    assert dataset.StudyTime == "101500"
    assert dataset.get("ContentDate", "") == dataset.PatientBirthDate == ""
    assert "PatientBirthTime" not in dataset
    assert dataset.PatientAge == "090Y"


def test_a_comment_inside_the_compressed_pixels_stays_behind(tmp_path: Path) -> None:
    import io  # noqa: PLC0415

    def compress(dataset: Dataset) -> None:
        buffer = io.BytesIO()
        ramp = np.tile(np.linspace(40, 200, 224).astype(np.uint8), (224, 1))
        Image.fromarray(ramp).save(buffer, "JPEG", comment=SECRET.encode())
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    source = edited(tmp_path, compress)
    assert SECRET.encode() in source.read_bytes()
    assert SECRET.encode() not in cleaned(source, tmp_path).read_bytes()


def drawn(pixels: np.ndarray, words: str) -> np.ndarray:
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text((6, 6), words, fill=255, font=ImageFont.load_default(24))
    return np.array(image)


def test_words_in_pixels_and_headers_that_say_so_are_refused_unless_they_may_pass(tmp_path: Path) -> None:
    path = tmp_path / "words.png"
    Image.fromarray(drawn(np.full((300, 300), 60, np.uint8), "DOE JOHN 1950")).save(path)
    with pytest.raises(UnreadableSource, match=r"looks like a word.*--keep-suspects"):
        cleaned(path, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    assert cleaned(path, tmp_path, suspects=True).suffix == ".png"
    (tmp_path / "out/abc.png").unlink()
    source = edited(tmp_path, lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES"))
    with pytest.raises(UnreadableSource, match=r"BurnedInAnnotation YES.*--keep-suspects"):
        cleaned(source, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    assert pydicom.dcmread(cleaned(source, tmp_path, suspects=True)).BurnedInAnnotation == "YES"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "P"])
def test_a_raster_keeps_its_pixels_and_nothing_else(suffix: str, mode: str, tmp_path: Path) -> None:
    if suffix == "jpg" and mode in ("I;16", "P"):
        pytest.skip("JPEG has no such mode")
    ramp = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))
    image = Image.fromarray(ramp.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(ramp).convert(mode)
    text, exif = PngInfo(), Image.Exif()
    text.add_text("Patient", SECRET)
    exif[0x010E], exif[0x0112] = SECRET, 6
    extra = {"pnginfo": text} if suffix == "png" else {"comment": SECRET.encode()}
    image.save(tmp_path / f"study.{suffix}", exif=exif, **extra)
    source = tmp_path / f"study.{suffix}"
    assert SECRET.encode() in source.read_bytes()
    written = cleaned(source, tmp_path)
    assert SECRET.encode() not in written.read_bytes()
    np.testing.assert_array_equal(XRay().read(written).pixels, XRay().read(source).pixels)
    with Image.open(written) as image:
        assert image.info == {}
        assert len(image.getexif()) == 0


def test_names_of_a_header_are_told_for_other_sources_and_fillers_are_not(tmp_path: Path) -> None:
    source = edited(tmp_path, lambda dataset: dataset.update({}))
    assert list(XRay().names(source)) == [pydicom.dcmread(source).PatientID] or list(XRay().names(source)) == []

    def name(dataset: Dataset) -> None:
        dataset.PatientName, dataset.OtherPatientNames = SECRET, ["ROE^J", "anonymous"]
        dataset.ReferringPhysicianName, dataset.AccessionNumber = "Smith^Eva", "A-17"

    assert list(XRay().names(edited(tmp_path, name)))[:2] == [SECRET, "ROE^J"]
    assert {"Smith^Eva", "A-17"} <= set(XRay().names(source))
    assert "anonymous" not in XRay().names(source)
    raster = tmp_path / "study.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(raster)
    assert list(XRay().names(raster)) == []


def test_names_inside_items_and_in_metadata_of_rasters_are_told_too(tmp_path: Path) -> None:
    def name(dataset: Dataset) -> None:
        inner, outer = Dataset(), Dataset()
        inner.PersonName, inner.PatientID, outer.PatientName = "Roe^Jane", "00471147", "Quince^Peter"
        outer.ContentSequence = [inner]
        dataset.RequestAttributesSequence = [outer]

    assert {"Roe^Jane", "00471147", "Quince^Peter"} <= set(XRay().names(edited(tmp_path, name)))
    text, exif = PngInfo(), Image.Exif()
    text.add_text("Author", "Peter Quince")
    text.add_text("Comment", "Patient name: Jane Roe")
    exif[0x013B] = "Nick Bottom"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "study.png", pnginfo=text, exif=exif)
    assert set(XRay().names(tmp_path / "study.png")) == {"Peter Quince", "Jane Roe", "Nick Bottom"}


def test_a_lookup_table_keeps_its_entries_and_nothing_else(tmp_path: Path) -> None:
    def table(dataset: Dataset) -> None:
        item = Dataset()
        item.LUTDescriptor, item.LUTExplanation = [4096, 0, 12], SECRET
        item.LUTData = np.arange(4096, dtype="<u2")[::-1].tobytes() + SECRET.encode()
        item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
        dataset.VOILUTSequence = [item]
        dataset.WindowCenterWidthExplanation = SECRET

    source = edited(tmp_path, table)
    written = cleaned(source, tmp_path)
    assert b"DOE" not in written.read_bytes()
    assert len(pydicom.dcmread(written).VOILUTSequence[0].LUTData) == 2 * 4096
    np.testing.assert_array_equal(XRay().read(written).pixels, XRay().read(source).pixels)


def test_what_cannot_be_read_is_refused_with_a_reason_and_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / f"{SECRET}.dcm"
    broken.write_bytes(SECRET.encode() * 40)
    with pytest.raises(UnreadableSource) as told:
        cleaned(broken, tmp_path)
    assert "DOE" not in str(told.value)

    def without_class(dataset: Dataset) -> None:
        del dataset.SOPClassUID

    with pytest.raises(UnreadableSource, match="without a SOP Class UID"):
        cleaned(edited(tmp_path, without_class), tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
