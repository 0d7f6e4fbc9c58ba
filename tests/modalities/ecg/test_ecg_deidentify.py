"""De-identified electrocardiograms: no comments, new record names, shifted dates, unchanged samples."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
import soundfile
from pydicom.data import get_testdata_file

from polyclinic.modality import Identity, UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG
from polyclinic_ecg.reading.quiet_wfdb import wfdb

REAL = Path(__file__).parents[4] / "shared/real/ptbdb/s0010_re.hea"
SECRET = "DOE^JOHN"
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(SECRET,))


def phantom(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    return ECG().phantom(Patient(rng).visit(rng), rng, folder / "study")


def cleaned(source: Path, folder: Path) -> Path:
    (folder / "out").mkdir(exist_ok=True)
    written = ECG().deidentify(source, folder / "out/abc", IDENTITY, suspects=False).source
    assert isinstance(written, Path)
    assert all(file.name.startswith("abc") for file in (folder / "out").iterdir())
    return written


def written_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((folder / "out").iterdir()))


def assert_same_signal(source: Path, written: Path) -> None:
    before, after = ECG().read(source), ECG().read(written)
    np.testing.assert_array_equal(after.signal, before.signal)
    facts = ("format", "encoding", "checksum", "layout", "segments", "leads")
    assert [after.facts.get(fact) for fact in facts] == [before.facts.get(fact) for fact in facts]


def test_comments_are_removed_the_base_date_is_shifted_and_the_record_renamed(tmp_path: Path) -> None:
    source = phantom(tmp_path)
    first, *signal_lines = source.read_text().splitlines()
    signal_lines = [line for line in signal_lines if not line.startswith("#")]
    lines = [f"{first} 10:15:30 05/03/2024", *signal_lines, f"# Name: {SECRET}", f"#{SECRET}"]
    source.write_text("\n".join(lines) + "\n")
    written = cleaned(source, tmp_path)
    shifted = date(2024, 3, 5) + timedelta(IDENTITY.days)
    head, *rest = written.read_text().splitlines()
    assert head == f"abc {first.split(' ', 1)[1]} 10:15:30 {shifted:%d/%m/%Y}"
    assert rest == [line.replace("study.dat", "abc.dat") for line in signal_lines]
    assert ECG().deidentify(source, tmp_path / "out/abc", IDENTITY, suspects=False).removed == {
        "comment lines": 2,
        "dates": 1,
    }
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"abc.hea", "abc.dat"}
    assert wfdb.rdheader(str(written.with_suffix(""))).base_date == shifted
    assert_same_signal(source, written)


def test_text_beside_the_fields_of_a_header_is_not_copied(tmp_path: Path) -> None:
    source = phantom(tmp_path)
    first, lead, *others = source.read_text().splitlines()
    lead = lead.removesuffix(" I") + f" I ({SECRET})"
    source.write_text("\n".join([f"{first} 10:00:00 01/02/2024 {SECRET}", lead, *others]) + "\n")
    written = cleaned(source, tmp_path)
    assert b"DOE" not in written_bytes(tmp_path)
    shifted = date(2024, 2, 1) + timedelta(IDENTITY.days)
    assert written.read_text().splitlines()[0] == f"abc {first.split(' ', 1)[1]} 10:00:00 {shifted:%d/%m/%Y}"
    assert_same_signal(source, written)


def test_bytes_before_and_after_the_samples_are_not_copied(tmp_path: Path) -> None:
    source = phantom(tmp_path)
    signal = source.with_suffix(".dat")
    signal.write_bytes(SECRET.encode() + signal.read_bytes() + SECRET.encode()[:7])
    source.write_text(source.read_text().replace(".dat 16 ", ".dat 16+8 "))
    written = cleaned(source, tmp_path)
    assert written_bytes(tmp_path).count(b"DOE") == 0
    assert written.with_suffix(".dat").read_bytes()[:8] == b"\0" * 8
    assert written.with_suffix(".dat").stat().st_size == signal.stat().st_size - 7
    assert_same_signal(source, written)


def test_other_signals_keep_known_names_only(tmp_path: Path) -> None:
    source = phantom(tmp_path)
    first, *others = [line for line in source.read_text().splitlines() if not line.startswith("#")]
    values = np.arange(int(first.split()[3]), dtype="<i2")
    lines = [first.replace(" 12 ", " 14 ")]
    for name, file in (("Resp", "study_a"), (SECRET, "study_b")):
        (source.parent / f"{file}.dat").write_bytes(values.tobytes())
        others.append(
            f"{file}.dat 16 100(0)/{SECRET if name == SECRET else 'NU'} 16 0 0 {values.sum() % 65536} 0 {name}"
        )
    source.write_text("\n".join([*lines, *others]) + "\n")
    written = cleaned(source, tmp_path)
    names = [line.split()[-1] for line in written.read_text().splitlines()[1:]]
    assert names[-2:] == ["Resp", IDENTITY.mapped("signal", SECRET)]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"abc.hea", "abc_0.dat", "abc_1.dat", "abc_2.dat"}
    assert b"DOE" not in written_bytes(tmp_path)
    assert_same_signal(source, written)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("description", "Ward 4 Smith", None),
        ("description", "PLETH", "PLETH"),
        ("unit", "Smith", "NU"),
        ("unit", "mmHg", "mmHg"),
        ("adc_zero", "491711471147", "0"),
        ("block_size", "491711471147", "0"),
        ("first_value", "19610829", "0"),
        ("gain", "100.491711471147", "100.492"),
    ],
)
def test_fields_of_a_signal_line_are_copied_only_if_known_or_in_range(
    field: str, value: str, expected: str | None, tmp_path: Path
) -> None:
    source = phantom(tmp_path)
    first, *others = [line for line in source.read_text().splitlines() if not line.startswith("#")]
    values = np.arange(int(first.split()[3]), dtype="<i2")
    (tmp_path / "other.dat").write_bytes(values.tobytes())
    parts = {"gain": "100", "unit": "NU", "adc_zero": "0", "first_value": "0", "block_size": "0"}
    parts |= {"description": "Resp", field: value}
    numbers = f"16 {parts['adc_zero']} {parts['first_value']} {values.sum() % 65536} {parts['block_size']}"
    line = f"other.dat 16 {parts['gain']}(0)/{parts['unit']} {numbers} {parts['description']}"
    source.write_text("\n".join([first.replace(" 12 ", " 13 "), *others, line]) + "\n")
    written = cleaned(source, tmp_path)
    assert (value in written.read_text()) == (value == expected)
    parts[field] = expected or IDENTITY.mapped("signal", value)
    numbers = f"16 {parts['adc_zero']} {parts['first_value']} {values.sum() % 65536} {parts['block_size']}"
    line = f"abc_1.dat 16 {parts['gain']}(0)/{parts['unit']} {numbers} {parts['description']}"
    assert written.read_text().splitlines()[-1] == line
    assert_same_signal(source, written)


def test_channels_of_a_waveform_keep_known_names_only(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    group = dataset.WaveformSequence[0]
    for place, channel in enumerate(group.ChannelDefinitionSequence):
        channel.ChannelLabel, channel.ChannelStatus = f"{SECRET} {place}", "DOE JOHN"
        source = channel.ChannelSourceSequence[0]
        source.CodingSchemeVersion = SECRET
        if place == 1:
            source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "X1", SECRET, "Lead II (Einthoven)"
        else:
            source.CodeMeaning = SECRET
    group.ChannelDefinitionSequence[2].ChannelLabel = "avr"
    dataset.save_as(tmp_path / "study.dcm")
    written = cleaned(tmp_path / "study.dcm", tmp_path)
    assert b"DOE" not in written_bytes(tmp_path)
    channels = pydicom.dcmread(written).WaveformSequence[0].ChannelDefinitionSequence
    assert [channel.get("ChannelLabel") for channel in channels[:4]] == [None, None, "aVR", None]
    source = channels[1].ChannelSourceSequence[0]
    assert (source.CodingSchemeDesignator, source.CodeMeaning) == ("99POLYCLINIC", "II")
    assert_same_signal(tmp_path / "study.dcm", written)


def test_segments_are_renamed_with_their_record(tmp_path: Path) -> None:
    source = phantom(tmp_path)
    lines = [line for line in source.read_text().splitlines() if not line.startswith("#")]
    length = int(lines[0].split()[3])
    for name in ("DOE_JOHN", "other"):
        (tmp_path / f"{name}.hea").write_text(
            "\n".join([lines[0].replace("study", name), *lines[1:], f"# {SECRET}"]) + "\n"
        )
    rate = lines[0].split()[2]
    segments = [f"DOE_JOHN {length}", f"~ {length}", f"other {length}", f"DOE_JOHN {length}"]
    source.write_text("\n".join([f"study/4 12 {rate} {4 * length} 09:00:00 01/02/2020", *segments]) + f"\n# {SECRET}\n")
    written = cleaned(source, tmp_path)
    names = [line.split()[0] for line in written.read_text().splitlines()[1:]]
    assert names == ["abc_0001", "~", "abc_0002", "abc_0001"]
    assert b"DOE" not in written_bytes(tmp_path)
    assert f"{date(2020, 2, 1) + timedelta(IDENTITY.days):%d/%m/%Y}" in written.read_text()
    assert_same_signal(source, written)


def test_compressed_samples_lose_the_tags_of_their_stream(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-900, 900, (500, 2)).astype(np.int16)
    with soundfile.SoundFile(tmp_path / "study.dat", "w", 500, 2, "PCM_16", format="FLAC") as file:
        file.title = file.comment = SECRET
        file.write(values)
    lines = ["study 2 250 500"]
    for name, column in zip(("I", "II"), values.T, strict=True):
        lines.append(f"study.dat 516 200(0)/mV 16 0 {column[0]} {int(column.sum()) % 65536} 0 {name}")
    (tmp_path / "study.hea").write_text("\n".join(lines) + "\n")
    assert SECRET.encode() in (tmp_path / "study.dat").read_bytes()
    written = cleaned(tmp_path / "study.hea", tmp_path)
    assert b"DOE" not in written_bytes(tmp_path)
    assert_same_signal(tmp_path / "study.hea", written)


def test_bytes_after_a_compressed_stream_are_not_copied(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-900, 900, (500, 1)).astype(np.int16)
    soundfile.write(tmp_path / "study.dat", values, 500, "PCM_16", format="FLAC")
    (tmp_path / "study.dat").write_bytes((tmp_path / "study.dat").read_bytes() + b"TAG" + SECRET.encode() * 9)
    line = f"study.dat 516 200(0)/mV 16 0 {values[0, 0]} {int(values.sum()) % 65536} 0 I"
    (tmp_path / "study.hea").write_text(f"study 1 250 500\n{line}\n")
    written = cleaned(tmp_path / "study.hea", tmp_path)
    assert b"DOE" not in written_bytes(tmp_path)
    assert_same_signal(tmp_path / "study.hea", written)


def test_a_dicom_waveform_keeps_its_samples_under_a_clean_header(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    dataset.PatientName, dataset.InstitutionName, dataset.StudyDate = SECRET, SECRET, "20240305"
    dataset.add_new(0x00091001, "LO", SECRET)
    dataset.add_new(0x00090010, "LO", SECRET)
    group = dataset.WaveformSequence[0]
    group.MultiplexGroupLabel = SECRET
    group.WaveformData = group.WaveformData + SECRET.encode()
    dataset.save_as(tmp_path / "study.dcm")
    written = cleaned(tmp_path / "study.dcm", tmp_path)
    assert b"DOE" not in written_bytes(tmp_path)
    clean = pydicom.dcmread(written)
    assert clean.StudyDate == f"{date(2024, 3, 5) + timedelta(IDENTITY.days):%Y%m%d}"
    assert clean.PatientID == IDENTITY.patient_id
    assert clean.StudyInstanceUID == IDENTITY.uid(dataset.StudyInstanceUID)
    assert [issue.code for issue in ECG().issues(written, ECG().read(written))] == []
    assert_same_signal(tmp_path / "study.dcm", written)
    assert SECRET in ECG().names(tmp_path / "study.dcm")


def test_a_real_record_loses_only_its_comments(tmp_path: Path) -> None:
    if not REAL.is_file():
        pytest.skip("the real studies are not here")
    written = cleaned(REAL, tmp_path)
    text = written.read_text()
    assert "#" not in text
    assert "s0010" not in text
    assert_same_signal(REAL, written)


def test_names_come_from_labelled_comments_and_broken_records_are_not_written(tmp_path: Path) -> None:
    source = phantom(tmp_path)
    source.write_text(source.read_text() + f"# Patient name: {SECRET}\n# Reason for admission: chest pain\n")
    assert list(ECG().names(source)) == [SECRET, "JOHN"]
    signal = source.with_suffix(".dat")
    signal.write_bytes(signal.read_bytes()[:-10])
    with pytest.raises(UnreadableSource, match="truncated"):
        cleaned(source, tmp_path)
    assert written_bytes(tmp_path) == b""
