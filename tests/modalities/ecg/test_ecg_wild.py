"""Electrocardiograms as devices write them: groups of leads in time, other names, no gain, capitals, no length."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from polyclinic.modality import Identity, UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_ecg.recording import LEADS, Channel, lead_index, upright

RATE = 500
STORED = np.cumsum(np.random.default_rng(0).integers(-9, 10, (12, 10 * RATE)), axis=1).astype("<i2")
CODES = ("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8")


def group(leads: list[int], start: float, seconds: float, **changes: object) -> Dataset:
    """Make a multiplex group of ``STORED`` from ``start`` on, in units of 1 uV."""
    item = Dataset()
    first, count = round(start * RATE), round(seconds * RATE)
    item.MultiplexGroupTimeOffset, item.WaveformOriginality = 1000 * start, "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples, item.SamplingFrequency = len(leads), count, RATE
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 16, "SS"
    definitions = []
    for lead in leads:
        source, unit, definition = Dataset(), Dataset(), Dataset()
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = f"2:{CODES[lead]}", "MDC", LEADS[lead]
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
        definition.ChannelSourceSequence, definition.ChannelSensitivityUnitsSequence = [source], [unit]
        definition.ChannelSensitivity, definition.ChannelSensitivityCorrectionFactor = 1, 1
        definition.ChannelBaseline, definition.WaveformBitsStored = 0, 16
        definitions.append(definition)
    item.ChannelDefinitionSequence = definitions
    item.add_new("WaveformData", "OW", STORED[leads, first : first + count].T.tobytes())
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


def save(folder: Path, *groups: Dataset) -> Path:
    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    dataset.WaveformSequence = list(groups)
    dataset.save_as(folder / "study.dcm")
    return folder / "study.dcm"


def codes(path: Path) -> dict[str, str]:
    severities = {entry.code: entry.severity for entry in ECG().issues(path, ECG().read(path))}
    return {code: severity for code, severity in severities.items() if code != "header-identifiers"}


ALL = list(range(12))
MILLIVOLTS = STORED / 1000


@pytest.mark.public_report(20)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("beat", "rhythm"),
    [
        (group(ALL, 0, 1.2), group(ALL, 0, 10)),
        (group(ALL, 0, 1.2), group([0, 1, *range(6, 12)], 0, 10)),
        (group(ALL, 0, 3, MultiplexGroupLabel="MEDIAN BEAT"), group([0, 1, 2], 0, 2.5)),
        (group(ALL, 0, 5), group(ALL, 0, 10)),
    ],
)
def test_the_rhythm_is_read_rather_than_a_single_beat(
    tmp_path: Path, beat: Dataset, rhythm: Dataset, order: tuple[int, int]
) -> None:
    path = save(tmp_path, *((beat, rhythm)[place] for place in order))
    raw = ECG().read(path)
    leads = [CODES.index(item.ChannelSourceSequence[0].CodeValue[2:]) for item in rhythm.ChannelDefinitionSequence]
    np.testing.assert_allclose(raw.signal[leads], MILLIVOLTS[leads, : rhythm.NumberOfWaveformSamples], atol=1e-6)
    assert raw.facts["leads"] == len(leads)
    assert codes(path)["groups-left-out"] == "note"


@pytest.mark.public_report(20)
@pytest.mark.parametrize("strip", [False, True])
def test_columns_of_three_leads_are_joined_in_time(tmp_path: Path, strip: bool) -> None:
    columns = [group([3 * place, 3 * place + 1, 3 * place + 2], 2.5 * place, 2.5) for place in range(4)]
    path = save(tmp_path, *columns[::-1], *([group([1], 0, 10)] if strip else []))
    raw = ECG().read(path)
    expected = np.full((12, 10 * RATE), np.nan)
    for place in range(4):
        stretch = slice(round(2.5 * place * RATE), round(2.5 * (place + 1) * RATE))
        expected[3 * place : 3 * place + 3, stretch] = MILLIVOLTS[3 * place : 3 * place + 3, stretch]
    if strip:
        expected[1] = MILLIVOLTS[1]
    np.testing.assert_allclose(raw.signal, expected, atol=1e-6)
    assert raw.facts["leads"] == 12
    assert ECG().prepare(raw)["lead_mask"].all()
    assert codes(path)["joined-groups"] == "note"


@pytest.mark.public_report(20)
def test_groups_at_the_same_time_complete_each_other(tmp_path: Path) -> None:
    limb, chest = group(ALL[:6], 0, 10), group(ALL[6:], 0, 10)
    np.testing.assert_allclose(ECG().read(save(tmp_path, limb, chest)).signal, MILLIVOLTS, atol=1e-6)
    same = [group(ALL[3 * place : 3 * place + 3], 0, 2.5) for place in range(4)]
    np.testing.assert_allclose(ECG().read(save(tmp_path, *same)).signal, MILLIVOLTS[:, : round(2.5 * RATE)], atol=1e-6)
    long_strip = save(tmp_path, group(ALL, 0, 5), group([1], 0, 10))
    np.testing.assert_allclose(ECG().read(long_strip).signal, MILLIVOLTS[:, : 5 * RATE], atol=1e-6)


def test_invalid_groups_are_refused(tmp_path: Path) -> None:
    for changes, message in [
        ({"MultiplexGroupTimeOffset": 1e9}, "values"),
        ({"NumberOfWaveformSamples": 9999}, "header declares"),
        ({"WaveformOriginality": "DERIVED"}, "derived"),
        ({"MultiplexGroupLabel": "Average beat"}, "derived"),
    ]:
        parts = [group(ALL[:3], 0, 2.5), group(ALL[3:6], 2.5, 2.5, **changes)]
        with pytest.raises(UnreadableSource, match=message):
            ECG().read(save(tmp_path, *(parts if message in ("values", "header declares") else parts[1:])))


@pytest.mark.public_report(21)
@pytest.mark.parametrize(
    ("names", "lead"),
    [
        (("DI", "d1", "MLI", "Lead I", "LEAD 1", "ECG I", "MDC_ECG_LEAD_I", "I ", "Ⅰ"), "I"),  # noqa: RUF001
        (("DII", "D2", "MLII", "mlii", "ekg_II", "Lead II (Einthoven)"), "II"),
        (("DIII", "D3", "MLIII"), "III"),
        (("aVR", "AVR", "avr", "ECG aVR", "Lead AvR"), "aVR"),
        (("C1", "c1", "v1", "V1 (mV)", "MDC_ECG_LEAD_V1"), "V1"),
        (("C6", "V6", "Lead V6"), "V6"),
        (
            ("vx", "vy", "vz", "V7", "V3R", "CM5", "-aVR", "V1-", "aVR (inverted)", "C7", "D4", "ECG", "I-II", "", "1"),
            None,
        ),
    ],
)
def test_leads_are_found_by_the_names_that_devices_write(names: tuple[str, ...], lead: str | None) -> None:
    assert {lead_index(name) for name in names} == {None if lead is None else LEADS.index(lead)}


@pytest.mark.public_report(21)
@pytest.mark.parametrize("name", ["-aVR", "Lead -aVR", "ECG -AVR", "-avr"])
def test_an_inverted_lead_is_negated(name: str) -> None:
    assert upright(Channel(name, "mV", np.array([1.0, -2.0]))).values.tolist() == [-1.0, 2.0]
    assert upright(Channel("aVR", "mV", np.array([1.0]))).values.tolist() == [1.0]


def record(folder: Path, names: tuple[str, ...], *, gain: str = "1000(0)/mV", length: str = " 5000") -> Path:
    lines = [f"rec {len(names)} {RATE}{length}"]
    for place, name in enumerate(names):
        total = int(STORED[place].astype(int).sum()) % 65536
        lines.append(f"rec.dat 16 {gain} 16 0 {STORED[place, 0]} {total} 0 {name}".replace("  ", " "))
    (folder / "rec.hea").write_text("\n".join(lines) + "\n")
    (folder / "rec.dat").write_bytes(STORED[: len(names)].T.tobytes())
    return folder / "rec.hea"


@pytest.mark.public_report(21)
@pytest.mark.parametrize(
    "names",
    [
        ("DI", "DII", "DIII", *LEADS[3:6], "C1", "C2", "C3", "C4", "C5", "C6"),
        ("MLI", "MLII", "MLIII", "AVR", "AVL", "AVF", *LEADS[6:]),
        tuple(f"MDC_ECG_LEAD_{lead}" for lead in LEADS),
        ("I", "II", "III", "-aVR", *LEADS[4:]),
    ],
)
def test_records_with_other_lead_names_have_all_leads(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = record(tmp_path, names)
    expected = MILLIVOLTS.copy()
    if "-aVR" in names:
        expected[3] *= -1
    np.testing.assert_allclose(ECG().read(path).signal, expected, atol=1e-6)
    assert codes(path) == ({"modified-leads": "note"} if "MLII" in names else {})


def test_a_modified_lead_yields_to_the_standard_one(tmp_path: Path) -> None:
    raw = ECG().read(record(tmp_path, ("MLII", "II", "V1")))
    np.testing.assert_allclose(raw.signal[1], MILLIVOLTS[1], atol=1e-6)
    assert raw.facts["modified_leads"] == 0


@pytest.mark.public_report(22)
@pytest.mark.parametrize("gain", ["0", "0/mV", "0(0)/mV"])
def test_a_record_without_gain_gets_a_warning(tmp_path: Path, gain: str) -> None:
    path = record(tmp_path, LEADS, gain=gain)
    np.testing.assert_allclose(ECG().read(path).signal, STORED / 200, rtol=1e-6)
    assert codes(path) == {"uncalibrated": "warning"}


@pytest.mark.public_report(22)
@pytest.mark.parametrize("header", ["REC.HEA", "Rec.hea", "rec.HEA", "rec.hea"])
@pytest.mark.parametrize("samples", ["REC.DAT", "rec.DAT", "rec.dat"])
def test_file_names_match_in_any_case(tmp_path: Path, header: str, samples: str) -> None:
    record(tmp_path, LEADS).rename(tmp_path / header)
    (tmp_path / "rec.dat").rename(tmp_path / samples)
    raw = ECG().read(tmp_path / header)
    np.testing.assert_allclose(raw.signal, MILLIVOLTS, atol=1e-6)
    assert ECG().files(tmp_path / header) == (tmp_path / header, tmp_path / samples)
    if header.partition(".")[0] == samples.partition(".")[0]:
        np.testing.assert_array_equal(ECG().read(tmp_path / samples).signal, raw.signal)
    (tmp_path / "out").mkdir()
    identity = Identity(key=b"k" * 32, patient="1", names=())
    cleaned = ECG().deidentify(tmp_path / header, tmp_path / "out/abc", identity, suspects=False)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["abc.dat", "abc.hea"]
    np.testing.assert_array_equal(ECG().read(cleaned.source).signal, raw.signal)


def test_files_whose_names_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    header = record(tmp_path, LEADS)
    (tmp_path / "rec.dat").rename(tmp_path / "REC.DAT")
    (tmp_path / "Rec.dat").write_bytes((tmp_path / "REC.DAT").read_bytes())
    with pytest.raises(UnreadableSource, match="in case only"):
        ECG().read(header)


@pytest.mark.public_report(22)
@pytest.mark.parametrize("length", ["", " 0"])
def test_a_record_without_length_has_the_length_of_its_file(tmp_path: Path, length: str) -> None:
    path = record(tmp_path, LEADS, length=length)
    raw = ECG().read(path)
    np.testing.assert_allclose(raw.signal, MILLIVOLTS, atol=1e-6)
    assert (raw.facts["seconds"], raw.facts["checksum"]) == (10.0, "verified")
    (tmp_path / "rec.dat").write_bytes((tmp_path / "rec.dat").read_bytes()[:-48])
    with pytest.raises(UnreadableSource, match="checksum"):
        ECG().read(path)
