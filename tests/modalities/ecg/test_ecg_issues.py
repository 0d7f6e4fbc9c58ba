"""Issues of an electrocardiogram: each planted one is found, and a clean record has none."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG
from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.wfdb_write import write_wfdb

SECRET = "DOE^JOHN"


def record(folder: Path, *, names: tuple[str, ...] = LEADS, comments: tuple[str, ...] = ()) -> Path:
    rng = np.random.default_rng(0)
    stored = np.cumsum(rng.integers(-20, 21, (len(names), 5000)), axis=1).astype(np.int16)
    return write_wfdb(folder / "record", stored, names=names, gain="200(0)/mV", rate=500, comments=comments)


def issues(path: Path) -> dict[str, tuple[str, str]]:
    """Return severity and message by code; no message holds the planted name."""
    plugin = ECG()
    issues_by_code = {issue.code: (issue.severity, issue.message) for issue in plugin.issues(path, plugin.read(path))}
    assert not any("DOE" in message or "JOHN" in message for _, message in issues_by_code.values())
    return issues_by_code


def altered(folder: Path, change: str) -> Path:
    """Write a record with changed samples and matching checksums."""
    rng = np.random.default_rng(0)
    stored = np.cumsum(rng.integers(-20, 21, (12, 5000)), axis=1).astype(np.int16)
    if change == "flat":
        stored[7] = 40
    if change == "gap":
        stored[:, 1000:1400] = -32768
    if change == "rail":
        stored[3] = np.minimum(stored[3], np.quantile(stored[3], 0.97))
    return write_wfdb(folder / "record", stored, names=LEADS, gain="200(0)/mV", rate=500, comments=())


def test_phantoms_have_no_issue_except_a_missing_lead(tmp_path: Path) -> None:
    plugin, incomplete = ECG(), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        path = plugin.phantom(Patient(rng).visit(rng), rng, tmp_path / f"S{seed}")
        twelve = path.read_text().split()[1] == "12"
        incomplete += not twelve
        assert set(issues(path)) == (set() if twelve else {"missing-lead"})
    assert incomplete > 0


@pytest.mark.parametrize(
    ("comment", "kinds"),
    [
        (f"Name: {SECRET}", "name"),
        ("Patient name: Jane Roe", "name"),
        ("DOB: 03/02/1950", "date of birth"),
        ("MRN 4711", "record number"),
        ("Patient ID: 4711, Phone: 555 123", "record number, telephone"),
    ],
)
def test_identifying_comments_of_a_header_are_reported_by_kind(tmp_path: Path, comment: str, kinds: str) -> None:
    comments = ("age: 81", comment.partition(", ")[0], *comment.split(", ")[1:])
    assert issues(record(tmp_path, comments=comments)) == {
        "header-identifiers": ("warning", f"comments of the header seem to hold {kinds}")
    }


def test_comments_of_segments_are_checked_as_well(tmp_path: Path) -> None:
    record(tmp_path, comments=(f"Name: {SECRET}",))
    (tmp_path / "whole.hea").write_text("whole/2 12 500 10000\nrecord 5000\nrecord 5000\n")
    assert set(issues(tmp_path / "whole.hea")) == {"header-identifiers"}


def test_comments_of_a_public_archive_are_not_reported(tmp_path: Path) -> None:
    comments = ("age: 81", "sex: female", "ECG date: 01/10/1990", "Diagnose:", "Reason for admission: n/a", "Name: ___")
    assert issues(record(tmp_path, comments=comments)) == {}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("flat", "flat-lead", "1 of the leads V2 never change: an electrode was off"),
        ("gap", "gaps", "8% of the samples of present leads are missing"),
        ("rail", "saturated-lead", "aVR stays at its extreme value for long"),
    ],
)
def test_faults_of_electrodes_and_amplifiers_are_reported(tmp_path: Path, change: str, code: str, message: str) -> None:
    assert issues(altered(tmp_path, change)) == {code: ("warning", message)}


def test_a_missing_lead_is_a_note_and_two_leads_are_reported_as_few(tmp_path: Path) -> None:
    issues_found = issues(record(tmp_path, names=LEADS[:-1]))
    assert issues_found == {"missing-lead": ("note", "missing of the 12 standard leads: V6")}
    (code,) = issues(record(tmp_path, names=("II", "V5")))
    assert code == "few-leads"


def test_a_signal_without_a_checksum_is_a_note(tmp_path: Path) -> None:
    header = record(tmp_path, names=(*LEADS, "pressure"))
    lines = header.read_text().splitlines()
    header.write_text("\n".join([*lines[:-1], " ".join(lines[-1].split()[:3])]) + "\n")
    message = "the header states no checksum to verify samples with"
    assert issues(header) == {"no-checksum": ("note", message)}


def test_dicom_waveforms_are_checked_as_well(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    dataset.PatientName, dataset.PatientID = SECRET, SECRET
    dataset.save_as(tmp_path / "ecg.dcm")
    issues_found = issues(tmp_path / "ecg.dcm")
    assert issues_found["header-identifiers"][0] == "warning"
    assert "PatientName" in issues_found["header-identifiers"][1]
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "ANONYMOUS", "", ""
    dataset.save_as(tmp_path / "ecg.dcm")
    assert "header-identifiers" not in issues(tmp_path / "ecg.dcm")


def test_stored_as_names_the_formats_even_of_a_broken_record(tmp_path: Path) -> None:
    header = record(tmp_path)
    assert ECG().stored_as(header) == "wfdb 16"
    header.write_text(header.read_text().replace(".dat 16 ", ".dat 212 ", 2) + f"# 99 {SECRET}\n")
    assert ECG().stored_as(header) == "wfdb 16+212"
    assert ECG().stored_as(Path(str(get_testdata_file("waveform_ecg.dcm")))) == "dicom 1.2.840.10008.1.2.1"
    (tmp_path / "x.dcm").write_bytes(b"no")
    assert ECG().stored_as(tmp_path / "x.dcm") == ""
    assert ECG().stored_as("inline") == ""
