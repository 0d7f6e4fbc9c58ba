from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_ecg.reading import wfdb_samples
from polyclinic_ecg.reading.quiet_wfdb import wfdb
from polyclinic_ecg.recording import LEADS

# wfdb 4.3 writes through pandas calls that pandas 3 deprecates; the plugin itself does not write with it.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

RATE, LENGTH = 250, 1000
PTB = Path(__file__).parents[4] / "shared" / "real" / "ptbdb" / "s0010_re.hea"


def leads(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, LENGTH)).astype(np.float32)


def write(
    folder: Path,
    signal: np.ndarray,
    names: Sequence[str] = LEADS,
    units: Sequence[str] | None = None,
    fmt: str = "32",
) -> Path:
    wfdb.wrsamp(
        "study",
        fs=RATE,
        units=list(units or ["mV"] * len(names)),
        sig_name=list(names),
        p_signal=signal.T.astype(np.float64),
        fmt=[fmt] * len(names),
        write_dir=str(folder),
    )
    return folder / "study.hea"


def edit(header: Path, old: str, new: str, count: int = -1) -> Path:
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, count))
    return header


def reason(source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        ECG().read(source)
    assert "study" not in str(caught.value)
    return str(caught.value)


def test_leads_are_found_by_name_in_any_order_and_case(tmp_path: Path) -> None:
    signal, order = leads(), np.random.default_rng(1).permutation(12)
    names = [LEADS[lead].lower() if lead % 2 else LEADS[lead].upper() for lead in order]
    header = write(tmp_path, np.vstack([signal[order], signal[:1]]), [*names, "vx"])
    np.testing.assert_allclose(ECG().read(header).signal, signal, atol=1e-6)


def test_header_samples_and_bare_name_read_the_same_record(tmp_path: Path) -> None:
    header = write(tmp_path, leads())
    for source in (header.with_suffix(".dat"), header.with_suffix("")):
        np.testing.assert_array_equal(ECG().read(source).signal, ECG().read(header).signal)


def test_every_channel_is_converted_from_its_unit(tmp_path: Path) -> None:
    units, scale = ["mV", "uV", "V"] * 4, np.array([1, 1e3, 1e-3] * 4)[:, None]
    raw = ECG().read(write(tmp_path, leads() * scale, units=units))
    np.testing.assert_allclose(raw.signal, leads(), atol=1e-5)
    assert raw.facts["units"] == "V+mV+uV"


def test_the_micro_sign_is_understood_in_units(tmp_path: Path) -> None:
    header = edit(write(tmp_path, leads() * 1e3, units=["uV"] * 12), "/uV", "/\N{MICRO SIGN}V")
    np.testing.assert_allclose(ECG().read(header).signal, leads(), atol=1e-5)


def test_an_unknown_unit_is_refused_for_leads_only(tmp_path: Path) -> None:
    units = ["mV"] * 12
    assert "lead in another unit than mV, uV and V" in reason(write(tmp_path, leads(), units=["mmHg", *units[1:]]))
    extra = np.vstack([leads(), leads()[:1]])
    assert ECG().read(write(tmp_path, extra, [*LEADS, "ABP"], [*units, "mmHg"])).facts["leads"] == 12


def test_missing_flat_and_absent_samples_are_nan(tmp_path: Path) -> None:
    signal = leads()
    signal[3] = 0.25
    signal[5, 100:200] = np.nan
    signal = np.delete(signal, 8, axis=0)
    raw = ECG().read(write(tmp_path, signal, [name for name in LEADS if name != "V3"]))
    assert np.isnan(raw.signal[[3, 8]]).all()
    assert np.isnan(raw.signal[5]).sum() == np.isnan(raw.signal[5, 100:200]).sum() == 100
    assert raw.facts["leads"] == 10
    assert raw.facts["nan_share"] == pytest.approx(100 / LENGTH / 10)


def test_records_without_usable_leads_are_refused(tmp_path: Path) -> None:
    assert "stored twice" in reason(write(tmp_path, leads(), ["v1", *LEADS[1:6], "V1", *LEADS[7:]]))
    assert "none of the leads" in reason(write(tmp_path, leads()[:2], ["CM5", "vx"]))
    assert "more than 10,000 mV" in reason(write(tmp_path, leads() * 1e3, units=["V"] * 12))
    assert "constant or empty" in reason(write(tmp_path, np.ones((12, LENGTH))))


@pytest.mark.parametrize("missing_bytes", [1, 48])
def test_a_truncated_file_is_refused(tmp_path: Path, missing_bytes: int) -> None:
    samples = write(tmp_path, leads()).with_suffix(".dat")
    samples.write_bytes(samples.read_bytes()[:-missing_bytes])
    assert "truncated" in reason(samples)


def test_one_flipped_bit_is_refused_by_the_checksum(tmp_path: Path) -> None:
    samples = write(tmp_path, leads(), fmt="16").with_suffix(".dat")
    content = bytearray(samples.read_bytes())
    content[777] ^= 0x10
    samples.write_bytes(content)
    assert "checksum" in reason(samples)


@pytest.mark.parametrize("name", ["../other.dat", "/data/other.dat", "sub/other.dat", "..\\other.dat", "c:other.dat"])
def test_a_signal_file_elsewhere_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    header = edit(write(tmp_path, leads()), "study.dat", name, 1)
    monkeypatch.setattr(wfdb_samples, "digital_record", lambda *_, **__: pytest.fail("opened"))
    assert "outside" in reason(header)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("study 12", "study/2 12", "segment line"),
        ("study 12", "study/0 12", "segment line"),
        (" 32 ", " 33 ", "storage format 33"),
        (" 32 ", " 32+8 ", "one format per file"),
        ("study 12 250 1000", "study 12 250 99999999999", "values"),
        ("study 12 250 1000", "study 12 250000 1000", "Hz"),
        ("study 12 250 1000", "study 12 2500 1000", "second"),
        ("study 12 250 1000", "study 12", "number of samples"),
        ("study 12", "study 11", "lists 12"),
    ],
)
def test_invalid_headers_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in reason(edit(write(tmp_path, leads()), old, new, 1))


@pytest.mark.skipif(not PTB.parents[1].is_dir(), reason="real records are not here")
def test_a_ptb_record_equals_its_raw_integers_divided_by_the_gain() -> None:
    raw = ECG().read(PTB)
    integers = np.fromfile(PTB.with_suffix(".dat"), dtype="<i2").reshape(38400, 12).T
    np.testing.assert_allclose(raw.signal, integers / 2000.0, atol=1e-6)
    assert (raw.rate, raw.facts["seconds"], raw.facts["checksum"]) == (1000.0, 38.4, "verified")
    # Einthoven's and Goldberger's laws hold only if names and rows agree.
    first, second, third, right, left, foot = raw.signal[:6]
    np.testing.assert_allclose(second - first, third, atol=0.01)
    np.testing.assert_allclose(right + left + foot, np.zeros(38400), atol=0.01)
    assert ECG().prepare(raw)["lead_mask"].all()
