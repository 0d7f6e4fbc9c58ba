"""A de-identified cart export keeps samples, rate and leads as a WFDB record, and names nobody."""

import re
from pathlib import Path

import edfio
import numpy as np
import pytest
from benchmarks.cart_files import FIRST, LAST, NUMBER, PHYSICIAN, STATEMENT, WRITERS, write_aecg, write_muse

from polyclinic.modality import Identity, UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG, deidentify_export
from polyclinic_ecg.heart import RATE, draw_heart
from polyclinic_ecg.reading.quiet_wfdb import wfdb
from polyclinic_ecg.recording import LEADS

RNG = np.random.default_rng(0)
SIGNAL = draw_heart(Patient(RNG).visit(RNG), RNG)
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(f"{LAST}^{FIRST}",))
NANOVOLT = 1e-6
CARTS = [name for name in WRITERS if name != "csv"]


def written(name: str, folder: Path) -> Path:
    write, suffix, _ = WRITERS[name]
    write(folder / f"study{suffix}", SIGNAL, RATE)
    return folder / f"study{suffix}"


def cleaned(source: Path, folder: Path) -> Path:
    (folder / "out").mkdir()
    written = ECG().deidentify(source, folder / "out/abc", IDENTITY, suspects=False).source
    assert isinstance(written, Path)
    assert {file.name for file in (folder / "out").iterdir()} == {"abc.hea", "abc.dat"}
    return written


@pytest.mark.parametrize("name", WRITERS)
def test_samples_stay_equal_to_half_a_nanovolt(name: str, tmp_path: Path) -> None:
    source = written(name, tmp_path)
    before, after = ECG().read(source), ECG().read(cleaned(source, tmp_path))
    tolerance = 0.5 * NANOVOLT + np.finfo(np.float32).eps * np.abs(before.signal)
    assert (np.abs(after.signal.astype(float) - before.signal) <= tolerance).all()
    assert after.rate == before.rate
    assert (after.facts["format"], after.facts["encoding"], after.facts["checksum"]) == ("wfdb", "32", "verified")


@pytest.mark.parametrize("name", WRITERS)
def test_no_other_text_of_the_file_survives(name: str, tmp_path: Path) -> None:
    header = cleaned(written(name, tmp_path), tmp_path)
    content = header.read_bytes() + header.with_suffix(".dat").read_bytes()
    for text in (FIRST, LAST, NUMBER, PHYSICIAN, STATEMENT):
        assert text.encode() not in content
    first, *lines = header.read_text().splitlines()
    assert first == "abc 12 500 5000"
    for line, lead in zip(lines, LEADS, strict=True):
        assert re.fullmatch(rf"abc\.dat 32 1000000\(0\)/mV 32 0 -?\d{{1,7}} \d{{1,5}} 0 {lead}", line)


@pytest.mark.parametrize("name", CARTS)
def test_the_names_of_a_patient_and_a_physician_are_found(name: str, tmp_path: Path) -> None:
    names = " ".join(ECG().names(written(name, tmp_path)))
    for text in (FIRST, LAST, *([] if name == "edf" else [NUMBER])):
        assert text in names
    physicians = name in ("ge-muse-xml", "edf") or name.startswith("scp-ecg")
    assert (PHYSICIAN in names) == physicians
    assert "Sinus" not in names


def test_the_words_about_a_patient_in_plain_edf_are_names(tmp_path: Path) -> None:
    signal = edfio.EdfSignal(SIGNAL[1], RATE, label="II", physical_dimension="mV")
    patient = edfio.Patient(code=NUMBER, name=f"{FIRST}_{LAST}")
    edfio.Edf([signal], patient=patient).write(tmp_path / "study.edf")
    assert list(ECG().names(tmp_path / "study.edf")) == [NUMBER, FIRST, LAST]


@pytest.mark.parametrize("name", WRITERS)
def test_issues_tell_kinds_of_identifiers_and_no_value(name: str, tmp_path: Path) -> None:
    source, plugin = written(name, tmp_path), ECG()
    messages = {issue.code: issue.message for issue in plugin.issues(source, plugin.read(source))}
    assert ("header-identifiers" in messages) == (name != "csv")
    assert not any(text in "".join(messages.values()) for text in (FIRST, LAST, NUMBER, PHYSICIAN, "1950"))


def test_identifiers_are_named_by_their_kinds(tmp_path: Path) -> None:
    source, plugin = written("ge-muse-xml", tmp_path), ECG()
    (issue,) = (issue for issue in plugin.issues(source, plugin.read(source)) if issue.code == "header-identifiers")
    expected = "name of the patient, number of the patient, name of a physician, date of birth"
    assert issue.message == f"the file holds {expected}"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ge-muse-xml", "<Diagnosis>", "<Diagnosis><EditorLastName>Murray</EditorLastName>"),
        ("philips-sierra-xml", "<interpretations>", "<interpretations><nurse><lastname>Murray</lastname></nurse>"),
        ("mortara-xml", "<TYPICAL_CYCLE", '<NURSE LAST_NAME="Murray"/><TYPICAL_CYCLE'),
        ("hl7-aecg", "<component><series>", "<nurse><family>Murray</family></nurse><component><series>"),
    ],
)
def test_names_in_tags_that_the_library_leaves_out_are_found(name: str, old: str, new: str, tmp_path: Path) -> None:
    source, plugin = written(name, tmp_path), ECG()
    assert "Murray" not in plugin.names(source)
    source.write_text(source.read_text().replace(old, new, 1))
    assert "Murray" in plugin.names(source)
    (issue,) = (issue for issue in plugin.issues(source, plugin.read(source)) if issue.code == "header-identifiers")
    assert "name of a person" in issue.message


def test_an_export_without_identifiers_has_no_such_issue(tmp_path: Path) -> None:
    source, plugin = written("ge-muse-xml", tmp_path), ECG()
    text = source.read_text()
    for value in (FIRST, LAST, NUMBER, PHYSICIAN, "03-04-1950"):
        text = text.replace(value, "")
    source.write_text(text)
    assert {issue.code for issue in plugin.issues(source, plugin.read(source))} == {"derived-leads"}
    assert list(plugin.names(source)) == []


def test_offsets_of_several_volts_are_written_in_larger_steps(tmp_path: Path) -> None:
    write_aecg(tmp_path / "study.xml", SIGNAL, RATE)
    text = (tmp_path / "study.xml").read_text()
    (tmp_path / "study.xml").write_text(text.replace('origin value="10"', 'origin value="5000000"'))
    before = ECG().read(tmp_path / "study.xml")
    header = cleaned(tmp_path / "study.xml", tmp_path)
    assert "100000(0)/mV" in header.read_text()
    np.testing.assert_allclose(ECG().read(header).signal, before.signal, rtol=2e-7)


def test_a_lead_that_was_not_recorded_is_not_written(tmp_path: Path) -> None:
    write_muse(tmp_path / "study.xml", SIGNAL, RATE, rows=(0, 2, 7))
    header = cleaned(tmp_path / "study.xml", tmp_path)
    assert wfdb.rdheader(str(header.with_suffix(""))).sig_name == ["I", "III", "V2"]


def test_a_record_that_is_read_differently_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deidentify_export, "_PER_MILLIVOLT", 3.0)  # written as it is, but too coarse for its rounding
    write = deidentify_export.write_wfdb
    monkeypatch.setattr(deidentify_export, "write_wfdb", lambda out, stored, **rest: write(out, stored + 1, **rest))
    with pytest.raises(UnreadableSource, match="without a change"):
        cleaned(written("ge-muse-xml", tmp_path), tmp_path)
