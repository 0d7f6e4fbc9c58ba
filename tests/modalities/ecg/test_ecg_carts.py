"""Exports of ECG carts, written from a known signal, are read to the steps of their formats."""

import re
import struct
from pathlib import Path

import edfio
import numpy as np
import pytest
import sierraecg
from benchmarks.cart_files import INDEPENDENT, WRITERS, steps, write_ishne, write_muse

from polyclinic.modality import UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG
from polyclinic_ecg.heart import RATE, draw_heart
from polyclinic_ecg.reading import cart
from polyclinic_ecg.reading.limb_leads import with_limb_leads
from polyclinic_ecg.recording import LEADS, Channel

RNG = np.random.default_rng(0)
SIGNAL = draw_heart(Patient(RNG).visit(RNG), RNG)


def written(name: str, folder: Path, rate: float = RATE) -> Path:
    write, suffix, _ = WRITERS[name]
    write(folder / f"study{suffix}", SIGNAL, rate)
    return folder / f"study{suffix}"


def reason(source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        ECG().read(source)
    assert "study" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read_to_half_a_step(name: str, tmp_path: Path) -> None:
    source, plugin = written(name, tmp_path), ECG()
    raw = plugin.read(source)
    derived = int(raw.facts["derived_leads"])
    stored = list(INDEPENDENT) if derived else list(range(12))
    half_a_step = WRITERS[name][2] / 2000 + 1e-6
    assert np.abs(raw.signal[stored] - SIGNAL[stored]).max() <= half_a_step
    assert np.abs(raw.signal - SIGNAL).max() <= 2 * half_a_step
    assert np.abs(raw.signal[stored] - SIGNAL[stored]).max() > half_a_step / 4, "the step of this test is too large"
    assert raw.rate == RATE
    assert (raw.facts["leads"], raw.facts["seconds"]) == (12.0, 10.0)
    assert raw.facts["format"] == plugin.stored_as(source) == name.removesuffix("-compressed")
    assert plugin.files(source) == (source,)


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("edf", "csv", "hl7-aecg")])
def test_samples_are_the_stored_integers_times_the_step(name: str, tmp_path: Path) -> None:
    raw = ECG().read(written(name, tmp_path))
    step = WRITERS[name][2]
    expected = steps(SIGNAL, step)[list(INDEPENDENT)] * (step / 1000)
    np.testing.assert_allclose(raw.signal[list(INDEPENDENT)], expected, rtol=1e-6, atol=1e-9)


def test_hl7_adds_the_origin_to_the_scaled_digits(tmp_path: Path) -> None:
    raw = ECG().read(written("hl7-aecg", tmp_path))
    np.testing.assert_allclose(raw.signal, 0.01 + steps(SIGNAL - 0.01, 2.5) * 0.0025, rtol=1e-6, atol=1e-9)


def test_sierra_is_read_as_a_second_implementation_reads_it(tmp_path: Path) -> None:
    source = written("philips-sierra-xml-compressed", tmp_path)
    leads = sierraecg.read_file(str(source)).leads
    assert [lead.label for lead in leads] == list(LEADS)
    expected = np.array([lead.samples for lead in leads]) * (5 / 1000)
    np.testing.assert_allclose(ECG().read(source).signal, expected, rtol=1e-6, atol=1e-9)


def test_edf_is_read_as_a_second_implementation_reads_it(tmp_path: Path) -> None:
    source = written("edf", tmp_path)
    signals = edfio.read_edf(source).signals
    expected = np.array([signal.data for signal in signals])
    np.testing.assert_allclose(ECG().read(source).signal[list(INDEPENDENT)], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "seconds_per_sample"), [("hl7-aecg", 0.003), ("scp-ecg", 0.003), ("edf", 0.008)])
def test_a_rate_that_is_no_integer_is_not_rounded(name: str, seconds_per_sample: float, tmp_path: Path) -> None:
    source = written(name, tmp_path, rate=125 if name == "edf" else 1 / seconds_per_sample)
    expected = 1 / seconds_per_sample
    if name == "edf":
        content = bytearray(source.read_bytes())
        content[192:236] = b" " * 44  # plain EDF, whose records have no times that would contradict their duration
        content[244:252] = b"1.5".ljust(8)
        source.write_bytes(content)
        expected = 125 / 1.5
    assert ECG().read(source).rate == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "csv"])
def test_the_content_decides_not_the_suffix(name: str, tmp_path: Path) -> None:
    source = written(name, tmp_path)
    other = source.rename(tmp_path / "study.dcm")
    assert ECG().read(other).facts["format"] == name.removesuffix("-compressed")


def test_limb_leads_follow_by_einthoven_and_goldberger(tmp_path: Path) -> None:
    write_muse(tmp_path / "study.xml", SIGNAL, RATE)
    raw = ECG().read(tmp_path / "study.xml")
    first, second = steps(SIGNAL[:2], 4.88) * 0.00488
    expected = [second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    np.testing.assert_allclose(raw.signal[2:6], expected, rtol=1e-5, atol=1e-7)
    assert raw.facts["derived_leads"] == 4.0
    assert "derived-leads" in {issue.code for issue in ECG().issues(tmp_path / "study.xml", raw)}


def test_stored_limb_leads_are_not_computed(tmp_path: Path) -> None:
    write_muse(tmp_path / "study.xml", SIGNAL, RATE, rows=(0, 1, 2, 6))
    raw = ECG().read(tmp_path / "study.xml")
    assert raw.facts["derived_leads"] == 0.0
    assert [LEADS[row] for row in np.flatnonzero(~np.isnan(raw.signal).all(axis=1))] == ["I", "II", "III", "V1"]


def test_nothing_is_computed_from_an_electrode_that_was_off() -> None:
    leads = [Channel("I", "mV", np.zeros(500)), Channel("II", "mV", SIGNAL[1, :500])]
    assert with_limb_leads(leads) == (leads, 0)


def test_a_fault_sample_of_ishne_is_missing(tmp_path: Path) -> None:
    write_ishne(tmp_path / "study.ecg", SIGNAL, RATE)
    content = bytearray((tmp_path / "study.ecg").read_bytes())
    content[-24:] = struct.pack("<12h", *[-32768] * 12)
    (tmp_path / "study.ecg").write_bytes(content)
    raw = ECG().read(tmp_path / "study.ecg")
    assert np.isnan(raw.signal[:, -1]).all()
    assert not np.isnan(raw.signal[:, :-1]).any()


def test_a_channel_of_ishne_without_a_lead_is_not_lead_i(tmp_path: Path) -> None:
    write_ishne(tmp_path / "study.ecg", SIGNAL, RATE, rows=(6, 1, 7))
    content = bytearray((tmp_path / "study.ecg").read_bytes())
    content[8:10] = b"\0\0"  # no checksum
    content[158:160] = b"\0\0"  # the first channel is of an unknown lead
    (tmp_path / "study.ecg").write_bytes(content)
    raw = ECG().read(tmp_path / "study.ecg")
    assert [LEADS[row] for row in np.flatnonzero(~np.isnan(raw.signal).all(axis=1))] == ["II", "V2"]


def test_a_lead_that_is_stored_twice_is_refused(tmp_path: Path) -> None:
    write_muse(tmp_path / "study.xml", SIGNAL, RATE, rows=(0, 1, 1, 7))
    assert "lead II is stored twice" in reason(tmp_path / "study.xml")


def test_leads_of_different_length_are_refused(tmp_path: Path) -> None:
    write_muse(tmp_path / "study.xml", SIGNAL[:, :4000], RATE)
    other = re.search("<LeadData>.*?</LeadData>", (tmp_path / "study.xml").read_text())
    write_muse(tmp_path / "study.xml", SIGNAL, RATE)
    text = (tmp_path / "study.xml").read_text()
    assert other is not None
    (tmp_path / "study.xml").write_text(re.sub("<LeadData>.*?</LeadData>", other[0], text, count=1))
    assert "leads of different length or rate" in reason(tmp_path / "study.xml")


def test_edf_leads_at_different_rates_are_refused(tmp_path: Path) -> None:
    signals = [
        edfio.EdfSignal(SIGNAL[row, :: 1 + row], RATE / (1 + row), label=LEADS[row], physical_dimension="mV")
        for row in (0, 1)
    ]
    edfio.Edf(signals).write(tmp_path / "study.edf")
    assert "leads at different rates" in reason(tmp_path / "study.edf")


def test_leads_that_start_at_different_times_are_refused(tmp_path: Path) -> None:
    write_muse(tmp_path / "study.xml", SIGNAL, RATE)
    text = (tmp_path / "study.xml").read_text()
    changed = text.replace("<LeadTimeOffset>0<", "<LeadTimeOffset>2500<", 1)
    (tmp_path / "study.xml").write_text(changed)
    assert "leads that start at different times" in reason(tmp_path / "study.xml")


def test_other_electrocardiograms_are_read_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(cart, "import_module", refuse)
    header = ECG().phantom(Patient(RNG).visit(RNG), RNG, tmp_path / "phantom")
    assert ECG().read(header).facts["format"] == "wfdb"
    assert ECG().read(written("csv", tmp_path)).facts["format"] == "csv"
    (tmp_path / "a.dcm").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bytes(200))
    assert "neither a WFDB record" in reason(tmp_path / "a.dcm")
    with pytest.raises(AssertionError):
        ECG().read(written("scp-ecg", tmp_path))


SEQUENCE = b'<component><sequence><code code="MDC_RESP"/><value><digits>1</digits></value></sequence></component>'


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("hl7-aecg", b"</sequenceSet>", SEQUENCE + b"</sequenceSet>"),
        ("hl7-aecg", b'value="160" unit="ms"', b'value="160" unit="parsec"'),
        (
            "mortara-xml",
            b'QRS_AXIS="-12"/>',
            b'QRS_AXIS="-12"><TYPICAL_CYCLE_CHANNEL DATA="AAAAAA=="/></TYPICAL_CYCLE>',
        ),
        ("mfer", b"\x16\x2c", b"\x85\x07\0\0\0\0\0\0\0\x16\x2c"),
    ],
)
def test_parts_that_change_no_sample_are_left_out_with_an_issue(
    name: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    source, plugin = written(name, tmp_path), ECG()
    before = plugin.read(source)
    assert source.read_bytes().count(old) == 1
    source.write_bytes(source.read_bytes().replace(old, new))
    raw = plugin.read(source)
    np.testing.assert_array_equal(raw.signal, before.signal)
    assert (before.facts["reader_remarks"], raw.facts["reader_remarks"] > 0) == (0.0, True)
    assert "parts-left-out" in {issue.code for issue in plugin.issues(source, raw)}
