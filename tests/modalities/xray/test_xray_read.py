"""Real and broken files give finite pixels, or a reason without path or patient."""

import gzip
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image

from polyclinic.modality import UnreadableSource
from polyclinic_xray import XRay
from polyclinic_xray.radiograph import Radiograph

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
REAL = Path(__file__).parents[4] / "shared/real/figure1/images"
MUST_DECODE = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
}


def read(path: Path) -> Radiograph:
    return XRay(size=32, patch=8).read(path)


def read_or_reason(path: Path) -> Radiograph | str:
    try:
        return read(path)
    except UnreadableSource as error:
        return str(error)


def assert_shown(raw: Radiograph) -> None:
    assert raw.pixels.ndim == 2
    assert raw.pixels.dtype == np.float32
    assert np.isfinite(raw.pixels).all()
    assert 0 <= raw.pixels.min() <= raw.pixels.max() <= 1


def names_in(path: Path) -> list[str]:
    """Return the words of the patient's name and number, if the file can be parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True, specific_tags=["PatientName", "PatientID"])
            words = f"{dataset.get('PatientName', '')}^{dataset.get('PatientID', '')}".replace(" ", "^").split("^")
        except Exception:
            return []
    return [word for word in words if len(word) > 3]


def test_every_sample_of_pydicom_is_read_or_refused_with_a_reason() -> None:
    decoded = set()
    for path in (each for each in sorted(SAMPLES.rglob("*")) if each.is_file()):
        outcome = read_or_reason(path)
        if isinstance(outcome, str):
            assert not any(word in outcome for word in (path.name, path.parent.name, *names_in(path))), path.name
        else:
            assert_shown(outcome)
            decoded.add(outcome.facts["transfer_syntax"])
    assert decoded >= MUST_DECODE


def test_colour_spaces_of_the_same_picture_agree() -> None:
    reference = read(SAMPLES / "SC_rgb_rle.dcm").pixels
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_ybr_full_422_uncompressed.dcm"):
        assert np.abs(read(SAMPLES / name).pixels - reference).mean() < 0.02, name


@pytest.mark.skipif(not REAL.is_dir(), reason="the real radiographs are not here")
def test_all_real_radiographs_are_read() -> None:
    images = sorted(REAL.iterdir())
    assert len(images) == 55
    for image in images:
        assert_shown(read(image))


def grey(bits: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**bits, (40, 30)).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_png_keeps_its_depth(tmp_path: Path, bits: int) -> None:
    Image.fromarray(grey(bits)).save(tmp_path / "a.png")
    raw = read(tmp_path / "a.png")
    np.testing.assert_allclose(raw.pixels, grey(bits) / (2**bits - 1), atol=1e-6)
    assert raw.facts["bits"] == bits


def test_colour_and_palette_png_become_luminance(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 4, (8, 6, 3)).astype(np.uint8) * 80
    expected = colour @ [0.299, 0.587, 0.114] / 255
    Image.fromarray(colour).save(tmp_path / "rgb.png")
    Image.fromarray(colour).quantize(256).save(tmp_path / "palette.png")
    for name in ("rgb.png", "palette.png"):
        np.testing.assert_allclose(read(tmp_path / name).pixels, expected, atol=1.01 / 255)


def test_exif_orientation_is_undone(tmp_path: Path) -> None:
    picture = np.zeros((32, 48), dtype=np.uint8)
    picture[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see the image upright
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95, exif=exif)
    np.testing.assert_allclose(read(tmp_path / "a.jpg").pixels, np.rot90(picture, -1) / 255, atol=0.05)


@pytest.mark.public_report(24)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_oblong_pixels_of_a_raster_are_read(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(grey(8)).save(tmp_path / f"a.{suffix}", dpi=(100, 50), exif=exif)
    assert read(tmp_path / f"a.{suffix}").pixel_aspect == pytest.approx(2.0 if orientation == 1 else 0.5, rel=0.01)


@pytest.mark.public_report(25)
@pytest.mark.parametrize("syntax", [pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian])
def test_a_file_without_meta_information_is_read(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    dataset = pydicom.dcmread(SAMPLES / "CT_small.dcm")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "whole.dcm")
    content = (tmp_path / "whole.dcm").read_bytes()
    meta = 128 + 4 + 12 + pydicom.dcmread(tmp_path / "whole.dcm").file_meta.FileMetaInformationGroupLength
    (tmp_path / "bare.dcm").write_bytes(content[meta:])
    np.testing.assert_array_equal(read(tmp_path / "bare.dcm").pixels, read(tmp_path / "whole.dcm").pixels)


def test_padding_after_the_pixels_is_ignored(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(SAMPLES / "MR_small_padded.dcm").pixels, read(SAMPLES / "MR_small.dcm").pixels)
    dataset = pydicom.dcmread(SAMPLES / "MR_small.dcm")
    dataset.PixelData = dataset.PixelData + dataset.PixelData[:1000]
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(UnreadableSource, match="bytes for 64 rows"):
        read(tmp_path / "a.dcm")


@pytest.mark.public_report(25)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(b"a" * 500, mtime=0), "a gzip file: unpack it first"),
        (b"PK\x03\x04" + b"\0" * 200, "a zip file: unpack it first"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "a PDF document"),
        (b"name,value\ncreatinine,1.1\n", r"text \(such as CSV, HTML or JSON\)"),
        ("Größe;Wert\n".encode() * 200, r"text \(such as CSV, HTML or JSON\)"),
        (b"<html><body>", r"text \(such as CSV, HTML or JSON\)"),
        (b"II*\x00" + b"\0" * 100, "a TIFF image"),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "doe.dcm").write_bytes(content)
    with pytest.raises(UnreadableSource, match=f"got {reason}, expected a DICOM, PNG or JPEG image"):
        read(tmp_path / "doe.dcm")


@pytest.mark.public_report(25)
def test_a_decimal_comma_is_refused_with_its_element(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(SAMPLES / "CT_small.dcm")
    dataset.WindowCenter, dataset.WindowWidth = "40.5", "300.5"
    dataset.save_as(tmp_path / "a.dcm")
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.dcm").read_bytes().replace(b"40.5", b"40,5"))
    with pytest.raises(UnreadableSource, match="got a WindowCenter that is not a number"):
        read(tmp_path / "a.dcm")


def test_dicom_of_another_kind_is_refused_by_name() -> None:
    for name, kind in (("test-SR.dcm", "Comprehensive SR Storage"), ("rtplan.dcm", "RT Plan Storage")):
        with pytest.raises(UnreadableSource, match=f"got DICOM of kind {kind} without integer Pixel Data"):
            read(SAMPLES / name)


def encoded(kind: str) -> bytes:
    if kind == "dcm":
        return (SAMPLES / "MR_small_jp2klossless.dcm").read_bytes()
    if kind == "rle":
        return (SAMPLES / "MR_small_RLE.dcm").read_bytes()
    stream = io.BytesIO()
    Image.fromarray(grey(8)).save(stream, {"png": "PNG", "jpg": "JPEG"}[kind])
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpg", "dcm", "rle"])
def test_truncated_files_are_refused_unless_the_pixels_are_complete(tmp_path: Path, kind: str) -> None:
    content, path = encoded(kind), tmp_path / f"doe_john.{kind}"
    path.write_bytes(content)
    pixels = read(path).pixels
    for share in (0.0, 0.001, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UnreadableSource) as caught:
            read(path)
        assert "doe" not in str(caught.value)
    for missing_bytes in range(1, 12):
        path.write_bytes(content[:-missing_bytes])
        outcome = read_or_reason(path)
        if isinstance(outcome, str):
            assert "doe" not in outcome
        else:
            np.testing.assert_array_equal(outcome.pixels, pixels)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + end


@pytest.mark.parametrize("side", [9_000, 9_800, 60_000])  # Pillow warns above 9,459 and raises above 13,377
def test_png_bombs_are_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    with pytest.raises(UnreadableSource, match=r"expected at most|DecompressionBombError"):
        read(tmp_path / "a.png")


def test_dicom_bombs_and_impostors_are_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(SAMPLES / "CT_small.dcm")
    dataset.Rows = dataset.Columns = 65_535
    dataset.save_as(tmp_path / "bomb.dcm")
    with pytest.raises(UnreadableSource, match="65535 x 65535 pixels"):
        read(tmp_path / "bomb.dcm")
    for content in ("", "Doe, John: no finding.\n", "Doe, John: no finding.\n" * 500):
        (tmp_path / "text.dcm").write_text(content)
        with pytest.raises(UnreadableSource) as caught:
            read(tmp_path / "text.dcm")
        assert "Doe" not in str(caught.value)
