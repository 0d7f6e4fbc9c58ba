"""Damaged files of every format are read or refused by name, as are files that once broke a plugin."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
import soundfile
from benchmarks import fuzz
from PIL import Image
from pydicom.data import get_testdata_file

from polyclinic.modality import UnreadableSource
from polyclinic_audio import Audio
from polyclinic_ecg import ECG
from polyclinic_report import Report
from polyclinic_report.reading.sections import split_sentences
from polyclinic_tabular import Tabular
from polyclinic_xray import XRay

MUTATIONS = 60


@pytest.mark.parametrize("name", fuzz.FORMATS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    originals = fuzz.write_originals(name, tmp_path)
    modality, sound = fuzz.fitted(tmp_path, name)
    counts = {"read": 0, "refused": 0}
    for index in range(MUTATIONS):
        damage, study = fuzz.damaged(originals, header=fuzz.FORMATS[name].header, index=index)
        source = fuzz.write_study(study, tmp_path / "changed_study")
        verdict = fuzz.believed(fuzz.judged(modality, sound, source), study, originals)
        assert verdict in counts, f"{damage} {index}"
        counts[verdict] += 1
    assert counts["refused"] > 0


def test_the_judge_recognises_read_broken_and_unverified_files(tmp_path: Path) -> None:
    originals = fuzz.write_originals("ecg-wfdb", tmp_path)
    modality, sound = fuzz.fitted(tmp_path, "ecg-wfdb")
    source = tmp_path / "0" / f"{fuzz.NAME}.hea"
    assert fuzz.judged(modality, sound, source) == "read"
    assert fuzz.judged(modality, {**sound, "signal": sound["signal"][:, 1:]}, source) == "prepare raised RuntimeError"
    altered = {**originals[0], ".dat": b"\1" + originals[0][".dat"][1:]}
    assert fuzz.believed("read", originals[0], originals) == "read"
    assert "checksum" in fuzz.believed("read", altered, originals)


def reason(modality: XRay | ECG | Audio | Tabular, source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        modality.read(source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Rows": 127}, "for 127 rows"),
        ({"PhotometricInterpretation": "RGB"}, "polarity is unknown"),
        ({"RescaleSlope": "1e308"}, "no range of finite numbers"),
        ({"RescaleSlope": "1e-30", "RescaleIntercept": "1e9"}, "no range of finite numbers"),
    ],
)
def test_contradictory_radiographs_are_refused(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "a.dcm")
    assert expected in reason(XRay(), tmp_path / "a.dcm")


def test_the_checksum_of_a_png_is_verified(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"IEND") - 8] ^= 1  # the first byte of the checksum of the pixels
    (tmp_path / "a.png").write_bytes(content)
    assert "SyntaxError" in reason(XRay(), tmp_path / "a.png")


@pytest.mark.parametrize("modality", [XRay(), ECG()])
def test_an_element_that_claims_gigabytes_is_refused_without_allocating_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modality: XRay | ECG
) -> None:
    claim = b"\x28\x00\x00\x30OW\0\0" + (2**31).to_bytes(4, "little") + b"\0\0"
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + claim)
    parsed, read_from = pydicom.dcmread, []
    monkeypatch.setattr(pydicom, "dcmread", lambda file, **rest: (read_from.append(file), parsed(file, **rest))[1])
    reason(modality, tmp_path / "a.dcm")
    assert isinstance(read_from[0], io.BytesIO)


def test_a_code_stream_that_crashes_another_decoder_is_refused(tmp_path: Path) -> None:
    name = "xray-dicom-jpeg2000"
    originals = fuzz.write_originals(name, tmp_path)
    _, study = fuzz.damaged(originals, header=fuzz.FORMATS[name].header, index=1068)
    message = "code stream of 224 x 224 x 26728 samples, expected 224 x 224 x 1"
    assert message in reason(XRay(), fuzz.write_study(study, tmp_path / "changed_study"))


def test_a_panic_of_a_decoder_makes_the_source_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """Stands for the exception of decoders in Rust."""

    def panic(_: pydicom.Dataset) -> np.ndarray:
        raise Panic

    monkeypatch.setattr(pydicom.Dataset, "pixel_array", property(panic))
    assert "cannot be decoded" in reason(XRay(), Path(str(get_testdata_file("CT_small.dcm"))))


@pytest.mark.parametrize("rate", [100, 2_000_000_011])
def test_sound_at_an_absurd_rate_is_refused_before_it_is_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=4000) / 9, rate)
    assert f"sampling rate of {rate} Hz" in reason(Audio(), tmp_path / "a.wav")


def test_a_number_with_thousands_of_digits_is_not_read_as_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.hea").write_text(f"a 1 500 {'9' * 5000}\na.dat 16 200 16 0 0 0 0 II\n")
    assert "a line of more than 1,000 characters" in reason(ECG(), tmp_path / "a.hea")


def test_a_number_too_large_for_any_unit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,value\nsodium,14e300\n")
    assert "beyond 1e+15" in reason(Tabular(scaling="zscore"), tmp_path / "a.csv")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("filling", ["\n", "\n ", " ", "a. ", "1. ", ". ", "a"])
def test_long_runs_in_a_report_do_not_take_quadratic_time(tmp_path: Path, filling: str) -> None:
    (tmp_path / "a.txt").write_text(f"No effusion. x{filling * 200_000} The end.")
    document = Report(section="findings").read(tmp_path / "a.txt")
    assert split_sentences(document.text)[0] == "No effusion."
