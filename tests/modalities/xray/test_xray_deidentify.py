"""De-identified radiographs: header by the basic profile, unchanged pixels, burned-in words refused."""

import json
import re
import socket
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

from polyclinic.cli import main
from polyclinic.modality import Identity, UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_xray import XRay, ocr
from polyclinic_xray.ocr import Box
from polyclinic_xray.reading.burned_in import Word

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
def test_every_golden_file_keeps_its_pixels_and_is_written_uncompressed(source: Path, tmp_path: Path) -> None:
    before, after = XRay().read(source), XRay().read(written := cleaned(source, tmp_path))
    np.testing.assert_array_equal(after.pixels, before.pixels)
    assert after.facts["unused_bits"] == "empty"
    assert after.facts["transfer_syntax"] == "1.2.840.10008.1.2.1"
    assert pydicom.dcmread(written).SOPInstanceUID != pydicom.dcmread(source, force=True).get("SOPInstanceUID")


def plant_everywhere(dataset: Dataset) -> None:
    """Write the name into every text element that such a file may hold, and into others."""
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


def test_a_name_planted_in_every_element_is_removed_everywhere(tmp_path: Path) -> None:
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


def test_instance_uids_are_mapped_and_class_uids_kept(tmp_path: Path) -> None:
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


def test_the_header_declares_the_deidentification(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(cleaned(phantom(tmp_path), tmp_path))
    assert dataset.PatientName == dataset.PatientID == IDENTITY.patient_id
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [(item.CodeValue, item.CodingSchemeDesignator) for item in dataset.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM"), ("113108", "DCM")]
    assert [
        issue.code for issue in XRay().issues(tmp_path / "out/abc.dcm", XRay().read(tmp_path / "out/abc.dcm"))
    ] == []


def test_dates_shift_together_times_stay_births_are_removed_and_ages_capped_at_ninety(tmp_path: Path) -> None:
    def set_dates_and_age(dataset: Dataset) -> None:
        dataset.StudyDate, dataset.StudyTime = "20240305", "101500"
        dataset.AcquisitionDateTime, dataset.ContentDate = "20240307101500.5+0100", "20240101"
        dataset.SeriesDate = "20240306"
        dataset.PatientBirthDate, dataset.PatientBirthTime, dataset.PatientAge = "19200101", "1200", "104Y"
        item = Dataset()
        item.StudyDate = "20240307"
        dataset.ReferencedStudySequence = [item]

    source = edited(tmp_path, set_dates_and_age)
    source.write_bytes(source.read_bytes().replace(b"DA\x08\x0020240101", b"DA\x08\0no date "))
    dataset = pydicom.dcmread(cleaned(source, tmp_path))
    shifted = {day: f"{date(2024, 3, day) + timedelta(IDENTITY.days):%Y%m%d}" for day in (5, 6, 7)}
    assert (dataset.StudyDate, dataset.SeriesDate) == (shifted[5], shifted[6])
    assert dataset.AcquisitionDateTime == f"{shifted[7]}101500.5+0100"
    assert dataset.StudyTime == "101500"
    assert dataset.get("ContentDate", "") == dataset.PatientBirthDate == ""
    assert "PatientBirthTime" not in dataset
    assert dataset.PatientAge == "090Y"


def test_a_comment_inside_the_compressed_pixels_is_not_copied(tmp_path: Path) -> None:
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


def test_burned_in_words_found_or_declared_are_refused_unless_suspects_are_kept(tmp_path: Path) -> None:
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


WORDS = "DOE JANE 1941"


def ground() -> np.ndarray:
    """Make values from 0.3 to 0.6 with a little noise."""
    rng = np.random.default_rng(0)
    return np.linspace(0.3, 0.6, 256)[:, None] + rng.normal(0, 0.003, (256, 224))


def burned(values: np.ndarray, ink: float, words: str = WORDS) -> np.ndarray:
    """Draw words into values."""
    image = Image.new("L", values.shape[::-1])
    ImageDraw.Draw(image).text((10, 6), words, fill=255, font=ImageFont.load_default(24))
    mask = np.asarray(image) / 255
    return values * (1 - mask) + ink * mask


def as_dicom(folder: Path, stored: np.ndarray, **elements: object) -> Path:
    """Write a DICOM file of 16 bits with the stored values."""

    def edit(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = stored.shape[:2]
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = int(stored.dtype.kind == "i")
        dataset.PixelData = stored.tobytes()
        for keyword in ("WindowCenter", "WindowWidth"):
            dataset.pop(keyword, None)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    return edited(folder, edit)


def table(entries: np.ndarray, first: int = 0) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, 16])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def twelve_bits(words: str = WORDS) -> np.ndarray:
    return np.round(burned(ground(), 1.0, words) * 4095).astype(np.uint16)


def within_a_narrow_range() -> np.ndarray:
    """Make words that differ little from a bright corner, in an image of the whole range of 12 bits."""
    values = ground() * 4095
    values[:60] = 3900 + np.random.default_rng(1).normal(0, 3, (60, 224))
    values[-1] = 0
    return np.round(burned(values, 3960)).astype(np.uint16)


def in_one_channel(folder: Path) -> Path:
    """Write red words on a grey of the same luminance."""
    channels = [burned(np.full((256, 224), 0.4), ink) for ink in (0.75, 0.22, 0.4)]
    colour = np.round(np.stack(channels, axis=-1) * 65535).astype(np.uint16)
    return as_dicom(folder, colour, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)


def raster(folder: Path, pixels: np.ndarray, name: str = "study.png") -> Path:
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def with_dark_border() -> np.ndarray:
    """Make words of 12 bits above a border of zeros, the only part that a white window leaves visible."""
    values = twelve_bits()
    values[-16:] = 0
    return values


HIDDEN: dict[str, Callable[[Path], Path]] = {
    "12 bits of 16": lambda folder: as_dicom(folder, twelve_bits()),
    "a table of 10 bits that declares 16": lambda folder: as_dicom(
        folder, twelve_bits(), VOILUTSequence=[table(np.arange(4096) // 4)]
    ),
    "a window in which all is white": lambda folder: as_dicom(
        folder, with_dark_border(), WindowCenter=300, WindowWidth=200
    ),
    "a white window, inverted": lambda folder: as_dicom(
        folder,
        4095 - with_dark_border(),
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=3795,
        WindowWidth=200,
    ),
    "signed values with a negative slope": lambda folder: as_dicom(
        folder, twelve_bits().astype(np.int16) - 2000, RescaleSlope=-1, RescaleIntercept=0
    ),
    "the second window": lambda folder: as_dicom(
        folder, within_a_narrow_range(), WindowCenter=[2048, 3930], WindowWidth=[4096, 120]
    ),
    "the second table": lambda folder: as_dicom(
        folder,
        within_a_narrow_range(),
        VOILUTSequence=[table(np.linspace(0, 65535, 4096)), table(np.linspace(0, 65535, 130), first=3865)],
    ),
    "a window beside a table": lambda folder: as_dicom(
        folder,
        within_a_narrow_range(),
        VOILUTSequence=[table(np.linspace(0, 65535, 4096))],
        WindowCenter=3930,
        WindowWidth=120,
    ),
    "a single bright pixel": lambda folder: as_dicom(
        folder, np.where(np.arange(256 * 224).reshape(256, 224) == 40_000, 65535, twelve_bits()).astype(np.uint16)
    ),
    "colours of one luminance": in_one_channel,
    "a PNG of 16 bits that holds 12": lambda folder: raster(folder, twelve_bits()),
    "a name of three letters": lambda folder: as_dicom(folder, twelve_bits("LEE")),
}


@pytest.mark.public_report(6)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_words_are_refused_or_blacked_out(hidden: str, tmp_path: Path) -> None:
    source = HIDDEN[hidden](tmp_path)
    with pytest.raises(UnreadableSource, match=r"looks like a word.*found by.*--burned-in redact"):
        cleaned(source, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    before, result = XRay().read(source), XRay().redact(source, tmp_path / "out/abc", IDENTITY)
    written = result.source
    assert isinstance(written, Path)
    assert sum(count for kind, count in result.removed.items() if "blacked out" in kind) == 1
    after = XRay().read(written)
    np.testing.assert_array_equal(after.pixels[60:], before.pixels[60:])
    stored = pydicom.dcmread(written).pixel_array if written.suffix == ".dcm" else np.asarray(Image.open(written))
    assert len(np.unique(stored[10:30, 12:40].reshape(-1, *stored.shape[2:]), axis=0)) == 1
    assert after.pixels[20, 20] == after.pixels.min()


def test_redaction_is_declared_in_the_header(tmp_path: Path) -> None:
    source = as_dicom(tmp_path, twelve_bits(), BurnedInAnnotation="YES")
    dataset = pydicom.dcmread(XRay().redact(source, tmp_path / "abc", IDENTITY).source)
    assert dataset.BurnedInAnnotation == "NO"
    method, redaction = dataset.DeidentificationMethod
    assert method == "polyclinic deidentify"
    assert redaction.startswith("words in the pixels blacked out: 1, found by ocr")
    assert [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence][-1] == "113101"


def test_no_redaction_is_declared_if_nothing_is_blacked_out(tmp_path: Path) -> None:
    marked = as_dicom(tmp_path, twelve_bits("R"))
    dataset = pydicom.dcmread(XRay().redact(marked, tmp_path / "abc", IDENTITY).source)
    assert "BurnedInAnnotation" not in dataset
    assert dataset.DeidentificationMethod == "polyclinic deidentify"
    np.testing.assert_array_equal(dataset.pixel_array, twelve_bits("R"))
    claimed = as_dicom(tmp_path, twelve_bits("R"), BurnedInAnnotation="YES")
    with pytest.raises(UnreadableSource, match="BurnedInAnnotation YES"):
        XRay().redact(claimed, tmp_path / "abc", IDENTITY)


@pytest.mark.parametrize(
    ("edges", "message"), [((0, 20, 0, 20), "after 3 rounds"), ((0, 300, 0, 200), "expected at most")]
)
def test_an_image_whose_words_cannot_be_blacked_out_is_not_written(
    edges: tuple[int, int, int, int], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = Word(Box(*edges), frozenset({"ocr"}))
    monkeypatch.setattr("polyclinic_xray.deidentify.words_in", lambda source, raw: [word])
    source = as_dicom(tmp_path, twelve_bits("R"))
    (tmp_path / "out").mkdir()
    with pytest.raises(UnreadableSource, match=message):
        XRay().redact(source, tmp_path / "out/abc", IDENTITY)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.public_report(6)
def test_the_command_blacks_out_words_on_request(tmp_path: Path) -> None:
    """Three studies, of which two hold words: refused by default, written with `--burned-in redact`."""
    images = {"a": twelve_bits(), "b": twelve_bits("R"), "c": twelve_bits("ROE RICHARD")}
    rows = ["study,patient,split,image"]
    for name, pixels in images.items():
        raster(tmp_path, pixels, f"{name}.png")
        rows.append(f"{name},p{name},train,{name}.png")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "cohort.yaml").write_text(
        "table: table.csv\nstudy_id: study\npatient_id: patient\nsplit: split\nmodalities: {xray: {path: image}}\n"
    )
    (tmp_path / "key").write_text("0123456789abcdef" * 2)
    (tmp_path / "key").chmod(0o600)
    start = ["deidentify", str(tmp_path / "cohort.yaml")]
    end = ["--key", str(tmp_path / "key"), "--workers", "0", "--max-refused", "0.7"]
    assert main([*start, str(tmp_path / "refused"), *end]) == 0
    record = json.loads((tmp_path / "refused/deidentified.json").read_text())
    assert (record["words_blacked_out"], [len(entry["studies"]) for entry in record["refused"]]) == (False, [2])
    assert main([*start, str(tmp_path / "redacted"), *end, "--burned-in", "redact"]) == 0
    record = json.loads((tmp_path / "redacted/deidentified.json").read_text())
    assert (record["words_blacked_out"], record["refused"]) == (True, [])
    removed = record["removed"]["xray"]
    assert sum(count for kind, count in removed.items() if kind.startswith("words blacked out")) == 2
    check = ["cohort", "check", str(tmp_path / "redacted/cohort.yaml"), "--workers", "0"]
    main([*check, "--json", str(tmp_path / "check.json")])
    issues = json.loads((tmp_path / "check.json").read_text())["modalities"]["xray"]["issues"]
    assert "burned-in-text" not in {issue["code"] for issue in issues}


def plant_pictures(dataset: Dataset) -> None:
    """Put a picture of the name in every place that can hold one beside the pixel data."""
    picture = SECRET.encode() * 2
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 3, 6, 8
    icon.add_new("PixelData", "OW", picture)
    dataset.IconImageSequence = [icon]
    film = Dataset()
    film.add_new("PixelData", "OW", picture)
    film.add_new(0x60023000, "OW", picture)
    dataset.BasicGrayscaleImageSequence = [film]
    dataset.add_new("EncapsulatedDocument", "OB", picture)
    dataset.add_new("SpectroscopyData", "OF", picture[:16])
    bare, complete = Dataset(), Dataset()
    complete.WaveformBitsAllocated, complete.WaveformSampleInterpretation = 16, "SS"
    for group in (bare, complete):
        group.add_new("WaveformData", "OW", picture)
    dataset.WaveformSequence = [bare, complete]
    dataset.add_new(0x50003000, "OW", picture)
    dataset.add_new(0x5000200C, "OW", picture)
    for group in (0x6000, 0x601E):
        dataset.add_new(group << 16 | 0x3000, "OW", picture)
        dataset.add_new(group << 16 | 0x1500, "LO", SECRET)
    # An overlay in the four bits above the stored ones (PS3.5 section 8.1.1, retired).
    dataset.add_new(0x60020100, "US", 1)
    dataset.add_new(0x60020102, "US", 15)
    above = np.frombuffer(dataset.PixelData, np.uint16) | np.uint16(0xA000)
    dataset.PixelData = above.tobytes()


def test_pictures_beside_the_pixels_are_removed(tmp_path: Path) -> None:
    source = edited(tmp_path, plant_pictures)
    assert source.read_bytes().count(b"DOE^") > 10
    written = cleaned(source, tmp_path)
    assert b"DOE" not in written.read_bytes()
    dataset = pydicom.dcmread(written)
    pictures = [str(element.tag) for element in elements(dataset) if element.VR in ("OB", "OW", "OF", "OD", "OL", "OV")]
    assert pictures == ["(7FE0,0010)"]
    assert not [element for element in elements(dataset) if element.tag.group >> 8 in (0x50, 0x60)]
    assert np.frombuffer(dataset.PixelData, np.uint16).max() < 1 << dataset.BitsStored


def test_several_frames_are_refused(tmp_path: Path) -> None:
    source = as_dicom(tmp_path, np.concatenate([twelve_bits("R"), twelve_bits()]), Rows=256, NumberOfFrames=2)
    with pytest.raises(UnreadableSource, match="2 frames"):
        XRay().redact(source, tmp_path / "abc", IDENTITY)


def test_recognition_needs_no_network_and_logs_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    ocr._reader.cache_clear()
    levels = np.round(burned(ground(), 1.0) * 255).astype(np.uint8)
    assert len(ocr.read_words([levels])) == 1
    assert ocr.read_words([np.zeros((5, 9), np.uint8)]) == ocr.read_words([np.zeros((1, 4000), np.uint8)]) == []
    assert capfd.readouterr() == ("", "")


def test_text_recognition_is_not_imported_until_needed() -> None:
    """OpenCV and ONNX Runtime would add two seconds to the start of every command."""
    imports = re.compile(r"^\s*(?:import|from) (?:cv2|onnxruntime|rapidocr)\b", re.MULTILINE)
    sources = list(Path(ocr.__file__).parent.glob("*.py"))
    assert len(sources) > 10
    assert [path.name for path in sources if imports.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "P"])
def test_a_raster_keeps_only_its_pixels(suffix: str, mode: str, tmp_path: Path) -> None:
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


def test_names_of_a_header_are_returned_without_fillers(tmp_path: Path) -> None:
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


def test_names_inside_sequences_and_raster_metadata_are_returned_too(tmp_path: Path) -> None:
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


def test_a_lookup_table_keeps_only_its_entries(tmp_path: Path) -> None:
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


def test_unreadable_files_are_refused_with_a_reason_and_not_written(tmp_path: Path) -> None:
    broken = tmp_path / f"{SECRET}.dcm"
    broken.write_bytes(SECRET.encode() * 40)
    with pytest.raises(UnreadableSource) as report:
        cleaned(broken, tmp_path)
    assert "DOE" not in str(report.value)

    def without_class(dataset: Dataset) -> None:
        del dataset.SOPClassUID

    with pytest.raises(UnreadableSource, match="without a SOP Class UID"):
        cleaned(edited(tmp_path, without_class), tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
