"""MIMIC-IV-ECG as it lies on disk, as a cohort."""

import csv
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from layouts.built import build
from layouts.ecg_files import write_record
from layouts.mimic_iv_ecg import LEADS, Record, write_mimic_iv_ecg, write_note_links, write_patients
from polyclinic.cli import main
from polyclinic_cohorts.ecg_signal import ALL_ZERO, ALTERED, FLAT_LEAD, NAN, UNREADABLE, usable_signal
from polyclinic_ecg import ECG
from polyclinic_ecg.reading.quiet_wfdb import wfdb

FOLDER = "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mimic_iv_ecg(tmp_path / "physionet" / FOLDER)
    write_patients(tmp_path / "physionet" / "mimiciv" / "2.2")
    return tmp_path / "physionet"


def _labels(root: Path, out: Path, *options: str) -> dict[str, dict[str, float]]:
    cohort = build("mimic-iv-ecg", root, out, *options).cohort
    return {
        study.study_id: {name: value for name, value in zip(cohort.labels, study.labels, strict=True) if value == value}
        for study in cohort.studies
    }


def test_intervals_are_differences_and_unmeasured_ones_are_blank(root: Path, tmp_path: Path) -> None:
    labels = _labels(root, tmp_path / "out")
    assert labels["40689238"] == {
        "rr_interval": 659, "p_duration": 88, "pr_interval": 130, "qrs_duration": 88, "qt_interval": 348,
        "p_axis": 81, "qrs_axis": 77, "t_axis": 75,
    }  # fmt: skip
    assert labels["44458630"] == {"qrs_duration": 88, "qt_interval": 336, "t_axis": 360}


def test_an_interval_whose_end_is_not_after_its_begin_is_blank(root: Path, tmp_path: Path) -> None:
    labels = _labels(root, tmp_path / "out")
    assert labels["41879011"] == {"pr_interval": 130, "t_axis": -360}
    assert labels["42354540"] == {
        "rr_interval": 10000, "pr_interval": 130, "qrs_duration": 1, "p_axis": 0, "qrs_axis": -180, "t_axis": 180,
    }  # fmt: skip


def test_blanked_measurements_are_counted_by_reason(root: Path, tmp_path: Path) -> None:
    report = build("mimic-iv-ecg", root, tmp_path / "out").report
    counted = {event["reason"]: event["rows"] for event in report["flow"][1]["events"] if event["kind"] == "counted"}
    assert {reason: rows for reason, rows in counted.items() if rows} == {
        "an all-zero lead": 1,
        "rr_interval was not measured": 1,
        "p_onset was not measured": 1,
        "p_end was not measured": 2,
        "t_end was not measured": 1,
        "p_axis was not measured": 2,
        "qrs_axis was not measured": 1,
        "qrs_axis is more than a turn": 1,
        "p_duration begins at or after its end": 1,
        "qrs_duration begins at or after its end": 1,
        "qt_interval begins at or after its end": 1,
        "without a machine report": 1,
    }


def test_reports_are_joined_by_study_and_skip_blank_lines(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("mimic-iv-ecg", root, tmp_path / "out").cohort.studies}
    reports = {study_id: study.sources.get("report") for study_id, study in studies.items()}
    assert reports == {
        "40689238": "Sinus rhythm. Possible left atrial enlargement.",
        "44458630": "Atrial fibrillation, rapid. Abnormal ECG.",
        "41879011": None,
        "42354540": "Sinus rhythm.",
    }


def test_sex_and_age_are_those_of_the_patient_at_the_time_of_the_record(root: Path, tmp_path: Path) -> None:
    result = build("mimic-iv-ecg", root, tmp_path / "out", "--check_signals", "false")
    groups = {study.study_id: study.groups for study in result.cohort.studies}
    assert groups["40689238"] == {"sex": "F", "age_band": "40 to 64"}
    assert groups["41879011"] == {"sex": "F", "age_band": "90 and over"}
    # An age above 89 in 2133 may have been less in 2132.
    assert groups["42354540"] == {"sex": "M", "age_band": ""}
    assert groups["45090959"] == {"sex": "", "age_band": ""}
    assert result.table.loc[49036311, "age"] == 48 + 2181 - 2174
    assert result.cohort.population == "mimic-iv"


@pytest.mark.parametrize(("below", "options"), [("", ("--patients", "")), (FOLDER, ())])
def test_without_the_table_of_patients_there_are_no_groups(
    root: Path, tmp_path: Path, below: str, options: tuple[str, ...]
) -> None:
    result = build("mimic-iv-ecg", root / below, tmp_path / "out", *options)
    assert {tuple(study.groups) for study in result.cohort.studies} == {()}
    assert "sex and age are unknown, as MIMIC-IV was not found" in result.report["notes"][2]


def test_two_versions_of_mimic_iv_are_refused_until_one_is_set(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_patients(root / "mimiciv" / "3.1")
    argv = ["cohort", "build", "mimic-iv-ecg", "--root", str(root), "--out", str(tmp_path / "out")]
    assert main(argv) == 1
    assert "expected one; set `--patients`" in capsys.readouterr().err
    assert main([*argv, "--patients", "4.0/hosp/patients.csv.gz"]) == 1
    assert "got 0 folders with 4.0/hosp/patients.csv.gz" in capsys.readouterr().err
    assert main([*argv, "--patients", "3.1/hosp/patients.csv.gz"]) == 0


def test_patients_are_assigned_by_the_hash_of_their_id(root: Path, tmp_path: Path) -> None:
    table = build("mimic-iv-ecg", root, tmp_path / "out", "--check_signals", "false", "--seed", "3").table
    drawn = {
        patient: int(sha256(f"3:{patient}".encode()).hexdigest()[:8], 16) / 2**32 for patient in table["patient_id"]
    }
    assert table["split"].tolist() == [
        "test" if drawn[patient] < 0.2 else "val" if drawn[patient] < 0.3 else "train"
        for patient in table["patient_id"]
    ]
    assert len(table) == 6


def test_unusable_signals_are_excluded_and_counted(root: Path, tmp_path: Path) -> None:
    result = build("mimic-iv-ecg", root, tmp_path / "out")
    assert {reason: count for reason, count in result.excluded().items() if count} == {
        "header is missing": 1,
        NAN: 1,
        ALL_ZERO: 1,
    }
    assert sorted(result.table.index) == [40689238, 41879011, 42354540, 44458630]
    fewer = build("mimic-iv-ecg", root, tmp_path / "fewer", "--flat_leads", "exclude")
    assert fewer.excluded()[FLAT_LEAD] == 1
    assert sorted(fewer.table.index) == [40689238, 42354540, 44458630]


def test_the_plugin_finds_leads_by_their_names(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("mimic-iv-ecg", root, tmp_path / "out").cohort.studies}
    raw = ECG().read(studies["41879011"].sources["ecg"])
    assert (raw.rate, raw.facts["leads"]) == (500, 11)
    # aVL is the sixth lead of the file, and the fifth in the standard order of the plugin.
    assert np.flatnonzero(np.isnan(raw.signal).all(axis=1)).tolist() == [4]


def test_ids_of_linked_notes_are_in_the_table(root: Path, tmp_path: Path) -> None:
    write_note_links(root / FOLDER)
    table = build("mimic-iv-ecg", root, tmp_path / "out").table
    assert table.loc[40689238, "note_ids"] == "10000032-EK-1 10000032-EK-2"
    assert table["note_ids"].isna().sum() == 3


def test_a_measurement_without_a_record_or_in_two_rows_is_not_used(root: Path, tmp_path: Path) -> None:
    path = root / FOLDER / "machine_measurements.csv"
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    by_study = {row[1]: row for row in rows}
    other_patient = ["99", *by_study["42354540"][1:]]
    unknown = [by_study["40689238"][0], "1", *by_study["40689238"][2:]]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [header, *[by_study["40689238"]] * 2, other_patient, unknown, by_study["44458630"]]
        )
    result = build("mimic-iv-ecg", root, tmp_path / "out", "--check_signals", "false")
    events = {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"]}
    assert events == {"study id occurs more than once": 2, "no record of that study and patient in record_list.csv": 2}
    assert result.table["report"].dropna().index.tolist() == [44458630]
    assert len(result.table) == 6


def test_repeated_study_ids_and_rows_without_a_patient_are_excluded(root: Path, tmp_path: Path) -> None:
    with (root / FOLDER / "record_list.csv").open("a") as stream:
        stream.write("10000764,40689238,40689238,2180-07-23 08:44:00,files/p1000/p10000764/s40689238/40689238\n")
        stream.write(",7,7,2180-07-23 08:44:00,files/p1000/p1/s7/7\n")
    excluded = build("mimic-iv-ecg", root, tmp_path / "out").excluded()
    assert excluded["no study, patient or file"] == 1
    assert excluded["study id occurs more than once"] == 2


@pytest.mark.parametrize(
    ("name", "old", "new", "reply"),
    [
        ("record_list.csv", "ecg_time", "time", "record_list.csv has no column 'ecg_time', it has ['subject_id'"),
        ("machine_measurements.csv", "report_17", "r17", "machine_measurements.csv has no column 'report_17'"),
        (
            "record_list.csv",
            "2180-07-23 08:44:00",
            "Smith",
            "the layout of the data set: 1 cells of ecg_time in record_list.csv are not of type TIMESTAMP",
        ),
    ],
)
def test_a_table_that_does_not_match_its_layout_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, reply: str
) -> None:
    path = root / FOLDER / name
    path.write_text(path.read_text().replace(old, new))
    assert main(["cohort", "build", "mimic-iv-ecg", "--root", str(root), "--out", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert reply in message
    assert "Smith" not in message
    assert not (tmp_path / "out").exists()


def _signal_file(root: Path) -> Path:
    write_mimic_iv_ecg(root, [Record(10000032, 40689238, "2180-07-23 08:44:00")])
    return root / "files/p1000/p10000032/s40689238/40689238"


def test_truncated_absent_and_malformed_records_are_unreadable(tmp_path: Path) -> None:
    record = _signal_file(tmp_path)
    signal, header = record.with_suffix(".dat"), record.with_suffix(".hea")
    samples, text = signal.read_bytes(), header.read_text()
    assert usable_signal(header) == ""
    for longer in (samples + b"\0", samples + b"\0\x80" * 12):
        signal.write_bytes(longer)
        assert usable_signal(header) == ""
    for damaged in (samples[:-1], samples[:-2], b""):
        signal.write_bytes(damaged)
        assert usable_signal(header) == UNREADABLE
    signal.unlink()
    assert usable_signal(header) == UNREADABLE
    signal.write_bytes(samples)
    for damaged in ("", "# only a comment\n", "not a header\n", text.replace("12 500 5000", "11 500 5000"), "\0\0"):
        header.write_text(damaged)
        assert usable_signal(header) == UNREADABLE
    header.write_text(text)
    signal.write_bytes(samples[:100] + bytes([samples[100] ^ 4]) + samples[101:])
    assert usable_signal(header) == ALTERED


def test_zero_means_zero_millivolts_at_any_baseline(tmp_path: Path) -> None:
    record = _signal_file(tmp_path)
    header = record.with_suffix(".hea")
    stored = np.full((5000, 12), 37, dtype="<i2")
    record.with_suffix(".dat").write_bytes(stored.tobytes())
    sums = (37 * 5000 + 2**15) % 2**16 - 2**15
    lines = [f"40689238.dat 16 200.0(37)/mV 16 0 37 {sums} 0 {lead}" for lead in LEADS]
    header.write_text("\n".join(["40689238 12 500 5000", *lines]))
    assert usable_signal(header) == ALL_ZERO
    lines[3] = lines[3].replace("(37)", "")
    header.write_text("\n".join(["40689238 12 500 5000", *lines]))
    assert usable_signal(header) == FLAT_LEAD


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("coding", ["16", "212", "80"])
def test_verdicts_agree_with_wfdb_in_every_format(tmp_path: Path, coding: str) -> None:
    rng = np.random.default_rng(0)
    for damage, expected in {"": "", "nan": NAN, "zero": ALL_ZERO, "flat lead": FLAT_LEAD}.items():
        values = np.round(rng.normal(0, 0.2, (500, 3)), 2)
        values[0] = 0.5
        if damage == "nan":
            values[20, 1] = np.nan
        values[:, {"zero": slice(None), "flat lead": slice(2, 3)}.get(damage, slice(0))] = 0
        name = f"r{coding}{damage.replace(' ', '')}"
        wfdb.wrsamp(
            name, fs=500, units=["mV"] * 3, sig_name=["I", "II", "III"], p_signal=values, fmt=[coding] * 3,
            adc_gain=[100.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path),
        )  # fmt: skip
        assert usable_signal(tmp_path / f"{name}.hea") == expected


def test_a_lead_that_is_zero_until_its_last_sample_is_not_flat(tmp_path: Path) -> None:
    values = np.zeros((5000, 12))
    values[-1] = 0.5
    write_record(tmp_path / "late", leads=LEADS, rate=500, values=values)
    assert usable_signal(tmp_path / "late.hea") == ""
