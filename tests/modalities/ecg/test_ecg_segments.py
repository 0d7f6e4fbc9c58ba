"""Records of several segments: sound ones read as by wfdb, contradictory ones refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_ecg.reading.quiet_wfdb import wfdb
from polyclinic_ecg.recording import LEADS, Electrocardiogram

RATE = 100


def integers(seed: int, count: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-900, 900, (count, length))


def write_segment(
    folder: Path, name: str, values: np.ndarray, names: Sequence[str], gains: Sequence[str] | None = None
) -> None:
    (folder / f"{name}.dat").write_bytes(values.T.astype("<i2").tobytes())
    lines = [f"{name} {len(values)} {RATE} {values.shape[1]}"]
    for place, row in enumerate(values):
        gain = gains[place] if gains else "200(0)/mV"
        lines.append(f"{name}.dat 16 {gain} 16 0 {row[0]} {int(row.sum()) % 65536} 0 {names[place]}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def write_record(folder: Path, signals: int, segments: Sequence[tuple[str, int]], rate: int = RATE) -> Path:
    total = sum(length for _, length in segments)
    lines = [f"study/{len(segments)} {signals} {rate} {total}", *(f"{name} {length}" for name, length in segments)]
    (folder / "study.hea").write_text("\n".join(lines) + "\n")
    return folder / "study.hea"


def write_layout(folder: Path, names: Sequence[str]) -> None:
    lines = [f"study_layout {len(names)} {RATE} 0", *(f"~ 0 200(0)/mV 16 0 0 0 0 {name}" for name in names)]
    (folder / "study_layout.hea").write_text("\n".join(lines) + "\n")


def write_fixed(folder: Path) -> tuple[Path, np.ndarray]:
    first, second = integers(1, 3, 150), integers(2, 3, 90)
    names = ("II", "V1", "V5")
    write_segment(folder, "study_1", first, names)
    write_segment(folder, "study_2", second, names)
    header = write_record(folder, 3, [("study_1", 150), ("~", 40), ("study_2", 90)])
    return header, np.concatenate([first, np.full((3, 40), np.nan), second], axis=1) / 200


def write_variable(folder: Path) -> tuple[Path, np.ndarray]:
    """Write segments whose leads, order, gains and units vary, beside a pressure."""
    first, second = integers(3, 2, 120), integers(4, 3, 80)
    write_layout(folder, ["V1", "II", "ABP", "aVR"])
    write_segment(folder, "study_1", first, ("II", "V1"), ("400(10)/mV", "0.1(0)/uV"))
    write_segment(folder, "study_2", second, ("ABP", "aVR", "II"), ("1(0)/mmHg", "200(0)/mV", "200(-5)/mV"))
    header = write_record(folder, 4, [("study_layout", 0), ("study_1", 120), ("~", 30), ("study_2", 80)])
    expected = np.full((12, 230), np.nan)
    expected[1, :120], expected[6, :120] = (first[0] - 10) / 400, first[1] / 0.1 / 1000
    expected[3, 150:], expected[1, 150:] = second[1] / 200, (second[2] + 5) / 200
    return header, expected


def read(source: Path) -> Electrocardiogram:
    return ECG().read(source)


def reason(source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        read(source)
    assert "study" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_fixed_layout_with_a_gap_is_joined(tmp_path: Path) -> None:
    header, expected = write_fixed(tmp_path)
    raw = read(header)
    np.testing.assert_allclose(raw.signal[[1, 6, 10]], expected, rtol=1e-6)
    facts = {"layout": "fixed", "segments": 2.0, "checksum": "verified", "units": "mV", "leads": 3.0, "seconds": 2.8}
    assert {name: raw.facts[name] for name in facts} == facts
    assert raw.facts["nan_share"] == pytest.approx(40 / 280)


def test_a_variable_layout_is_joined_by_name_and_unit(tmp_path: Path) -> None:
    header, expected = write_variable(tmp_path)
    raw = read(header)
    np.testing.assert_allclose(raw.signal, expected, rtol=1e-5)
    facts = {"layout": "variable", "segments": 2.0, "checksum": "verified", "units": "mV+uV", "leads": 3.0}
    assert {name: raw.facts[name] for name in facts} == facts


def test_wfdb_agrees_where_all_segments_share_a_gain(tmp_path: Path) -> None:
    first, second = integers(5, 2, 120), integers(6, 1, 80)
    write_layout(tmp_path, ["V1", "II"])
    write_segment(tmp_path, "study_1", first, ("II", "V1"))
    write_segment(tmp_path, "study_2", second, ("II",))
    header = write_record(tmp_path, 2, [("study_layout", 0), ("study_1", 120), ("~", 30), ("study_2", 80)])
    reference = wfdb.rdrecord(str(tmp_path / "study"))
    raw = read(header)
    np.testing.assert_allclose(raw.signal[[LEADS.index(name) for name in reference.sig_name]], reference.p_signal.T)


def test_an_empty_gap_is_not_accepted_as_the_layout(tmp_path: Path) -> None:
    write_segment(tmp_path, "study_1", integers(1, 1, 120), ("II",))
    assert "begins with an empty gap" in reason(write_record(tmp_path, 1, [("~", 0), ("study_1", 120)]))
    assert "all gaps" in reason(write_record(tmp_path, 1, [("~", 120)]))
    write_layout(tmp_path, ["II"])
    assert "all gaps" in reason(write_record(tmp_path, 1, [("study_layout", 0), ("~", 120)]))


def test_each_segment_is_verified(tmp_path: Path) -> None:
    header, _ = write_fixed(tmp_path)
    samples = tmp_path / "study_2.dat"
    content = samples.read_bytes()
    samples.write_bytes(content[:100] + bytes([content[100] ^ 8]) + content[101:])
    assert "checksum" in reason(header)
    samples.write_bytes(content[:-6])
    assert "truncated" in reason(header)
    samples.unlink()
    assert "missing" in reason(header)
    samples.write_bytes(content)
    (tmp_path / "study_2.hea").unlink()
    assert "cannot be opened" in reason(header)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("study", "study_2 90", "study_2 91", "add up"),
        ("study", "study_2 90", "study_2 9", "add up"),
        ("study", "100 280", "100 281", "add up"),
        ("study", "study/3", "study/4", "declares 4 segments and lists 3"),
        ("study", "study/3 3", "study/3 4", "record of 4 signals; its first segment lists 3"),
        ("study", "/3 3 100", "/3 3 200", "different rate"),
        ("study", "study_2 90", "../study_2 90", "outside"),
        ("study", "study_2 90", "/data/study_2 90", "outside"),
        ("study", "study_2 90", "c:study_2 90", "outside"),
        ("study", "study_2 90", "study_2", "segment line"),
        ("study", "study_2 90", "study_2 -90", "segment line"),
        ("study", "study_2 90", "study_2 90 90", "segment line"),
        ("study", "study_2 90", "study 90", "consists of segments"),
        ("study", "~ 40\nstudy_2 90", "~ 130\nstudy_2 0", "without samples"),
        ("study_2", "100 90", "100 80", "segment of 80 samples; its record declares 90"),
        ("study_2", "study_2.dat", "../study_2.dat", "outside"),
        ("study_2", "3 100", "3 500", "different rate"),
        ("study_2", " V5", " V6", "does not list"),
        ("study_2", "study_2 3", "study_2/1 3", "consists of segments"),
    ],
)
def test_segments_that_contradict_their_record_are_refused(
    tmp_path: Path, file: str, old: str, new: str, expected: str
) -> None:
    header, _ = write_fixed(tmp_path)
    edit(tmp_path / f"{file}.hea", old, new)
    assert expected in reason(header)


def test_a_segment_with_a_lead_that_the_layout_does_not_list_is_refused(tmp_path: Path) -> None:
    header, _ = write_variable(tmp_path)
    edit(tmp_path / "study_2.hea", "aVR", "aVL")
    assert "expected those of the layout" in reason(header)
    edit(tmp_path / "study_2.hea", "aVL", "II")
    assert "stored twice" in reason(header)


def test_segments_that_refer_to_themselves_are_refused(tmp_path: Path) -> None:
    header = write_record(tmp_path, 1, [("study", 200)])
    assert "consists of segments" in reason(header)


def test_excessive_totals_of_segments_are_refused_before_reading_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(tmp_path, "study_1", integers(1, 1, 120), ("II",))
    monkeypatch.setattr(wfdb, "rdrecord", lambda *_, **__: pytest.fail("opened"))
    assert "values" in reason(write_record(tmp_path, 1, [("study_1", 120), ("~", 10**9)]))
    assert "add up" in reason(write_record(tmp_path, 1, [("study_1", 120), ("~", int("9" * 500))]))
    assert "1001 segments" in reason(write_record(tmp_path, 1, [("study_1", 120)] * 1001))


def test_a_segment_may_be_short_and_may_be_repeated(tmp_path: Path) -> None:
    values = integers(1, 1, 60)
    write_segment(tmp_path, "study_1", values, ("II",))
    raw = read(write_record(tmp_path, 1, [("study_1", 60), ("study_1", 60)]))
    np.testing.assert_allclose(raw.signal[1], np.tile(values[0], 2) / 200, rtol=1e-6)
    assert "at least 1 second" in reason(write_record(tmp_path, 1, [("study_1", 60)]))


def test_files_lists_the_samples_of_a_record_last(tmp_path: Path) -> None:
    header, _ = write_variable(tmp_path)
    names = ["study.hea", "study_layout.hea", "study_1.hea", "study_2.hea", "study_1.dat", "study_2.dat"]
    assert [path.name for path in ECG().files(header)] == names
    assert ECG().files(tmp_path / "study") == ECG().files(header)
    (tmp_path / "study_1.hea").write_text("broken")
    assert [path.name for path in ECG().files(header)] == [name for name in names if name != "study_1.dat"]
    header.write_text("broken")
    assert ECG().files(header) == (header,)


def test_files_of_records_without_segments_and_of_broken_ones(tmp_path: Path) -> None:
    write_segment(tmp_path, "a", integers(1, 2, 120), ("II", "vx"))
    edit(tmp_path / "a.hea", "a.dat 16 200(0)/mV 16 0 ", "a.lead 16 200(0)/mV 16 0 ")
    (tmp_path / "a.lead").write_bytes(b"")
    assert [path.name for path in ECG().files(tmp_path / "a.hea")] == ["a.hea", "a.dat", "a.lead"]
    (tmp_path / "a.hea").write_text("../x 1\n")
    assert [path.name for path in ECG().files(tmp_path / "a.dat")] == ["a.hea", "a.dat"]
    assert ECG().files(tmp_path / "scan.dcm") == (tmp_path / "scan.dcm",)
    assert ECG().files("inline") == ()
