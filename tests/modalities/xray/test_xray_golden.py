"""Every golden file of ``tests/golden/dicom`` is shown, and its display described, by the formulas of the standard."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from golden.dicom import generate
from pydicom import uid
from pydicom.dataset import Dataset

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.decoders import decoders
from polyclinic_xray import XRay
from polyclinic_xray.radiograph import Radiograph

FILES = generate.FOLDER
CASES = generate.cases()
NO_DECODER = {
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.100": "MPEG2 Main Profile",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265",
    "1.2.840.10008.1.2.4.204": "JPIP HTJ2K",
    "1.2.3.4.5": "1.2.3.4.5",
}


def read(path: Path, window: int = 0) -> Radiograph:
    return XRay(size=32, patch=8, window=window).read(path)


def reason(path: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        read(path)
    assert path.stem not in str(caught.value)
    return str(caught.value)


def golden(name: str) -> Dataset:
    return pydicom.dcmread(FILES / f"{name}.dcm")


def save(dataset: Dataset, folder: Path) -> Path:
    dataset.save_as(folder / "study.dcm")
    return folder / "study.dcm"


@pytest.mark.parametrize("name", CASES)
def test_a_golden_file_is_displayed_by_the_standard(name: str) -> None:
    case, raw = CASES[name], read(FILES / f"{name}.dcm", CASES[name].window)
    with np.load(FILES / "expected.npz") as arrays:
        np.testing.assert_allclose(raw.pixels, arrays[name], atol=case.atol)
    assert {key: raw.facts.get(key) for key in case.facts} == pytest.approx(dict(case.facts))


def test_the_stored_arrays_equal_the_formulas_and_every_case_has_a_file() -> None:
    with np.load(FILES / "expected.npz") as arrays:
        assert set(arrays) == set(CASES) == {path.stem for path in FILES.glob("*.dcm")}
        for name, pixels in generate.expected().items():
            np.testing.assert_allclose(arrays[name], pixels, atol=1e-7)


def test_the_golden_files_are_small_and_cover_every_readable_syntax() -> None:
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 200_000
    syntaxes = {golden(name).file_meta.TransferSyntaxUID for name in CASES}
    # No encoder of High-Throughput JPEG 2000 is installed.
    assert set(decoders()) - syntaxes == {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}


def test_every_syntax_has_an_installed_decoder_with_a_permissive_licence() -> None:
    for syntax, (decoder, licence) in decoders().items():
        assert decoder.split()[0] in {
            *("pydicom", "pillow", "python-gdcm", "pyjpegls", "pylibjpeg-openjpeg", "pylibjpeg-rle")
        }, syntax
        assert any(free in licence for free in ("MIT", "Apache", "BSD", "HPND")), syntax
        assert "GPL" not in licence


def test_an_uninstalled_decoder_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - beside its only use

    def version(distribution: str) -> str:
        if distribution == "pyjpegls":
            raise PackageNotFoundError
        return "1.0"

    monkeypatch.setattr("polyclinic_dicom.decoders.version", version)
    assert decoders()[uid.JPEGLSLossless] == ("", "")
    assert decoders()[uid.JPEG2000][0] == "pylibjpeg-openjpeg 1.0"


@pytest.mark.parametrize(("syntax", "name"), NO_DECODER.items())
def test_a_syntax_without_a_decoder_is_refused_by_name(tmp_path: Path, syntax: str, name: str) -> None:
    dataset = golden("rle")
    dataset.NumberOfFrames = 2
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.set_original_encoding(False, True)
    message = reason(save(dataset, tmp_path))
    assert f"no decoder for transfer syntax {syntax}" in message
    assert name in message


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE"), ("MONOCHROME2", " inverse ")]
)
def test_tags_that_disagree_on_polarity_are_refused(tmp_path: Path, photometric: str, shape: str) -> None:
    dataset = golden("no_voi")
    dataset.PhotometricInterpretation = photometric
    with pydicom.config.disable_value_validation():
        dataset.PresentationLUTShape = shape
    assert "disagree on which end is bright" in reason(save(dataset, tmp_path))


def test_padding_of_the_wrong_sign_is_still_padding(tmp_path: Path) -> None:
    dataset = golden("padding_range_signed")
    expected = read(FILES / "padding_range_signed.dcm").pixels
    with pydicom.config.disable_value_validation():
        for keyword, value in (("PixelPaddingValue", 65536 - 2048), ("PixelPaddingRangeLimit", 65536 - 1900)):
            dataset.add_new(keyword, "US", value)
    np.testing.assert_array_equal(read(save(dataset, tmp_path)).pixels, expected)


def test_twelve_bit_jpeg_agrees_with_another_decoder() -> None:
    path = Path(pydicom.data.get_testdata_file("JPGExtended.dcm") or "")
    pixels = read(path).pixels
    # Values of libjpeg (GPL, not used here) at these two places, from the tests of pydicom.
    np.testing.assert_allclose([pixels[420, 140], pixels[230, 120]], np.array([244, 95]) / 4095, atol=1e-6)
