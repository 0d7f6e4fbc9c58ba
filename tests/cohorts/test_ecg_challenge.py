"""The challenges 2020 and 2021 as they lie on disk, as a cohort."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from layouts.built import Result, build
from layouts.ecg_challenge import LEADS, RECORDS, Record, values, write_ecg_challenge, write_ptbxl_table, write_record
from polyclinic.cli import main
from polyclinic_cohorts.challenge_codes import DIAGNOSES
from polyclinic_ecg import ECG


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ecg_challenge(tmp_path / "physionet")
    return tmp_path / "physionet"


def _events(result: Result, arm: int = 0) -> dict[str, int]:
    return {event["reason"]: event["rows"] for event in result.report["flow"][arm]["events"] if event["rows"]}


def _present(result: Result) -> dict[str, set[str]]:
    return {
        study.study_id: {name for name, value in zip(result.cohort.labels, study.labels, strict=True) if value == 1}
        for study in result.cohort.studies
    }


def test_there_are_26_diagnoses_of_30_codes_and_no_code_is_in_two() -> None:
    counts = Counter(code for codes in DIAGNOSES.values() for code in codes)
    assert (len(DIAGNOSES), len(counts), set(counts.values())) == (26, 30, {1})


def test_equivalent_codes_are_one_diagnosis_and_no_code_is_unknown(root: Path, tmp_path: Path) -> None:
    result = build("ecg-challenge", root, tmp_path / "out")
    assert result.cohort.labels == tuple(DIAGNOSES)
    assert _present(result) == {
        "E00001": {"NSR", "TAb"}, "E00002": {"RBBB", "PAC", "PVC"}, "A0001": {"RBBB"}, "Q0001": set(),
        "S0001": {"NSR"}, "HR00001": {"NSR"}, "HR00002": {"PAC", "LBBB"}, "I0001": set(),
        "JS00001": {"AF", "RBBB", "TAb"}, "JS10647": {"SB", "RBBB"},
    }  # fmt: skip
    labels = result.table[list(DIAGNOSES)].astype("Float64")
    assert labels.loc["I0001"].isna().all()
    assert labels.drop("I0001").notna().all(axis=None)
    assert _events(result, 1) == {
        "without a diagnosis": 1, "with diagnoses that are not scored, all labels absent": 1,
    }  # fmt: skip


def test_age_sex_and_source_come_from_comments_and_names(root: Path, tmp_path: Path) -> None:
    result = build("ecg-challenge", root, tmp_path / "out")
    table = result.table
    assert table["age"].fillna(-1).to_dict() == {
        "A0001": 74, "E00001": 68, "E00002": -1, "HR00001": 90, "HR00002": 19, "I0001": 65, "JS00001": 85,
        "JS10647": 17, "Q0001": -1, "S0001": 81,
    }  # fmt: skip
    assert "".join(table["sex"].fillna("-")) == "MMFFMMMF-F"
    assert table["source"].to_dict() == {
        "A0001": "cpsc_2018", "E00001": "georgia", "E00002": "georgia", "HR00001": "ptb-xl", "HR00002": "ptb-xl",
        "I0001": "st_petersburg_incart", "JS00001": "chapman_shaoxing", "JS10647": "ningbo",
        "Q0001": "cpsc_2018_extra", "S0001": "ptb",
    }  # fmt: skip
    assert _events(result) == {
        "age is not given": 1, "age is not a number of years": 1, "sex is neither male nor female": 1,
    }  # fmt: skip
    groups = {study.study_id: study.groups for study in result.cohort.studies}
    assert groups["JS10647"] == {"sex": "F", "age_band": "under 18", "source": "ningbo"}
    assert result.cohort.population == "ecg-challenge"


@pytest.mark.parametrize("record", [RECORDS[0], RECORDS[2], RECORDS[4], RECORDS[7]], ids=lambda record: record.path)
def test_the_plugin_reads_the_matlab_file_as_scipy_does(root: Path, record: Record) -> None:
    path = root / record.path
    matrix = loadmat(path.with_suffix(".mat"))["val"]
    assert matrix.shape == (12, record.samples)
    assert np.array_equal(matrix, values(record).T)
    raw = ECG().read(path.with_suffix(".hea"))
    assert raw.rate == record.rate
    assert raw.facts["leads"] == 12
    assert raw.facts["checksum"] == "verified"
    np.testing.assert_allclose(raw.signal, matrix / 1000.0, atol=1e-6)
    assert len(LEADS) == len(raw.signal)


def test_a_cohort_of_several_rates_is_checked_and_collated(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = build("ecg-challenge", root, tmp_path / "out").cohort
    plugin = ECG(rate=100, seconds=3)
    items = [plugin.prepare(plugin.read(study.sources["ecg"])) for study in cohort.studies]
    assert {plugin.read(study.sources["ecg"]).rate for study in cohort.studies} == {257, 500, 1000}
    batch = plugin.collate(items)
    assert all(len(values) == len(RECORDS) for values in batch.values())
    capsys.readouterr()
    assert main(["cohort", "check", str(tmp_path / "out" / "cohort.yaml"), "--workers", "0"]) == 0


def test_patients_and_folds_of_ptbxl_are_used_where_its_table_is_found(root: Path, tmp_path: Path) -> None:
    without = build("ecg-challenge", root, tmp_path / "without").table
    assert without["patient_id"].tolist() == without.index.tolist()
    write_record(root, Record("training/ptb-xl/g1/HR00003", "20", "M", "426783006"))
    write_ptbxl_table(root / "ptb-xl")
    result = build("ecg-challenge", root, tmp_path / "with")
    assert result.table.loc[["HR00001", "HR00002"], "patient_id"].tolist() == ["ptb-xl 15709"] * 2
    assert result.table.loc[["HR00001", "HR00002"], "split"].tolist() == ["test"] * 2
    assert result.excluded()["a record of PTB-XL that is not in ptbxl_database.csv"] == 1
    others = without.index[~without.index.str.startswith("HR")]
    assert result.table.loc[others, "split"].equals(without.loc[others, "split"])


def test_sources_are_chosen_and_diagnoses_that_a_source_never_has_may_be_unknown(root: Path, tmp_path: Path) -> None:
    options = ("--sources", "[georgia, ptb]", "--unused", "unknown")
    result = build("ecg-challenge", root, tmp_path / "out", *options)
    assert sorted(result.table.index) == ["E00001", "E00002", "S0001"]
    known = {study: set(row.index[row.notna()]) for study, row in result.table[list(DIAGNOSES)].iterrows()}
    assert known == {
        "E00001": {"NSR", "TAb", "RBBB", "PAC", "PVC"}, "E00002": {"NSR", "TAb", "RBBB", "PAC", "PVC"},
        "S0001": {"NSR"},
    }  # fmt: skip
    assert result.excluded()["source is not used"] == 7


def test_unusable_records_are_excluded_and_counted(root: Path, tmp_path: Path) -> None:
    georgia = root / "training/georgia/g1"
    (georgia / "E00001.mat").unlink()
    mat = georgia / "E00002.mat"
    mat.write_bytes(mat.read_bytes()[:-2])
    (georgia / "E00003.hea").write_bytes(b"\x00\xff\xfe" * 100)
    (georgia / "E00004.hea").write_text("")
    (georgia / "E00005.hea").write_text("E00005 1 500 5000\n../georgia/E00002.mat 16x1+24 1000 16 0 0 0 0 I\n")
    (georgia / "E00006.hea").write_text("E00006 12 500 5000\nE00002.mat 16x1+24 1000 16 0 0 0 0 I\n")
    (georgia / "._E00001.hea").write_text("of a Mac")
    write_record(root, Record("copy/S0001", "81", "F", "426783006"))
    write_record(root, Record("training/georgia/g1/X0001", "81", "F", "426783006"))
    result = build("ecg-challenge", root, tmp_path / "out")
    assert {reason: rows for reason, rows in result.excluded().items() if rows} == {
        "is not the header of a WFDB record": 3,
        "signal file is not beside the header": 1,
        "signal file is missing": 1,
        "signal file is shorter than its header states": 1,
        "name is not of a known source": 1,
        "a copy in another folder": 1,
    }
    assert len(result.table) == len(RECORDS) - 2


def test_samples_are_checked_unless_set(root: Path, tmp_path: Path) -> None:
    for name, change in (("E00001", 1), ("JS10647", 0)):
        mat = next(root.rglob(f"{name}.mat"))
        content = bytearray(mat.read_bytes())
        content[200] ^= change
        mat.write_bytes(content)
    header = root / "WFDB_PTB" / "S0001.hea"
    mat = header.with_suffix(".mat")
    mat.write_bytes(mat.read_bytes()[:24] + bytes(mat.stat().st_size - 24))
    header.write_text(re.sub(r" 0 -?\d+ -?\d+ 0 ", " 0 0 0 0 ", header.read_text()))
    result = build("ecg-challenge", root, tmp_path / "out")
    assert {reason: rows for reason, rows in result.excluded().items() if rows} == {
        "samples do not match the checksum": 1,
        "all zero": 1,
    }
    assert len(result.table) == len(RECORDS) - 2
    unchecked = build("ecg-challenge", root, tmp_path / "unchecked", "--check_signals", "false")
    assert len(unchecked.table) == len(RECORDS)


def test_a_header_that_was_cut_in_its_codes_has_no_diagnoses(root: Path, tmp_path: Path) -> None:
    header = root / "training/georgia/g1/E00002.hea"
    text = header.read_text()
    header.write_text(text[: text.index("59118001") + 12])
    result = build("ecg-challenge", root, tmp_path / "out")
    assert result.table.loc["E00002", list(DIAGNOSES)].isna().all()
    assert _events(result, 1)["without a diagnosis"] == 2


def test_records_without_age_and_sex_make_a_cohort_of_ecgs(tmp_path: Path) -> None:
    write_ecg_challenge(tmp_path / "root", records=(Record("E00001", "NaN", "NaN", "426783006"),))
    result = build("ecg-challenge", tmp_path / "root", tmp_path / "out")
    assert result.cohort.present_share() == {"ecg": 1}


def test_a_root_without_records_and_unknown_sources_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = ["cohort", "build", "ecg-challenge", "--root", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "no header (.hea) is in the data root" in capsys.readouterr().err
    assert main([*words, "--sources", "[georgia, mayo]"]) != 0
    assert "got source 'mayo', expected one of cpsc_2018" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
