"""LUDB as it lies on disk, as a cohort."""

import csv
from pathlib import Path

import pytest

from layouts.built import Result, build
from layouts.ludb import TABLE, write_ludb
from polyclinic.cli import main
from polyclinic_ecg import ECG

REAL = Path(__file__).parents[3] / "shared/real/ludb"
FINDINGS = ("hypertrophy", "conduction", "ischemia", "repolarisation", "fibrillation", "extrasystole", "pacing")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ludb(tmp_path / "physionet" / "ludb")
    return tmp_path / "physionet"


def _counted(result: Result) -> dict[str, int]:
    return {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"]}


def test_findings_rhythm_axis_and_age_come_from_cells_that_end_in_line_breaks(root: Path, tmp_path: Path) -> None:
    result = build("ludb", root, tmp_path / "out")
    assert result.cohort.labels[:7] == FINDINGS
    findings = {name: row.tolist() for name, row in result.table[list(FINDINGS)].astype("Float64").iterrows()}
    assert findings["1"] == [1, 0, 0, 1, 0, 0, 0]
    assert findings["2"] == [0, 1, 0, 0, 1, 0, 1]
    assert findings["8"] == [0, 0, 1, 0, 1, 1, 0]
    assert findings["34"] == [0] * 7
    assert result.table["rhythm"].fillna("").to_dict() == {
        "1": "Sinus bradycardia", "2": "Atrial fibrillation", "8": "Atrial flutter, typical", "34": "Sinus rhythm",
        "95": "", "111": "",
    }  # fmt: skip
    assert result.table["axis"].fillna("").to_dict() == {
        "1": "left axis deviation", "2": "", "8": "vertical", "34": "normal", "95": "", "111": "",
    }  # fmt: skip
    assert result.table["age"].astype("Float64").fillna(-1).tolist() == [51, 64, 90, 64, 17, -1]
    assert result.cohort.population == "ludb"


def test_a_record_that_nobody_described_has_unknown_findings_and_odd_cells_are_counted(
    root: Path, tmp_path: Path
) -> None:
    result = build("ludb", root, tmp_path / "out")
    assert result.table.loc["95", list(FINDINGS)].isna().all()
    counted = _counted(result)
    assert {reason: rows for reason, rows in counted.items() if rows} == {
        "age is not a number of years": 1,
        "sex is neither F nor M": 1,
        "not described, without findings": 1,
        "rhythm is none of the classes": 1,
        "axis is none of the classes": 1,
    }


def test_records_reports_and_groups_are_read(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("ludb", root, tmp_path / "out").cohort.studies}
    raw = ECG().read(studies["8"].sources["ecg"])
    assert (raw.rate, raw.facts["leads"]) == (500, 12)
    assert studies["1"].sources["report"].startswith("Sinus bradycardia\nElectric axis of the heart: left axis dev")
    assert studies["8"].groups == {"sex": "M", "age_band": "under 18"}
    assert studies["2"].groups == {"sex": "M", "age_band": "90 and over"}
    assert studies["95"].groups == {"sex": "", "age_band": ""}


def test_records_that_are_absent_cut_altered_or_repeated_are_excluded(tmp_path: Path) -> None:
    repeated = TABLE + "34,F,64,Sinus rhythm,,,,,,,,\n../../1,F,64,Sinus rhythm,,,,,,,,\n"
    write_ludb(tmp_path / "ludb", table=repeated)
    data = tmp_path / "ludb" / "data"
    (data / "111.hea").unlink()
    (data / "2.dat").write_bytes((data / "2.dat").read_bytes()[:-2])
    content = bytearray((data / "8.dat").read_bytes())
    content[100] ^= 1
    (data / "8.dat").write_bytes(bytes(content))
    result = build("ludb", tmp_path / "ludb", tmp_path / "out")
    assert {reason: rows for reason, rows in result.excluded().items() if rows} == {
        "number is not digits": 1,
        "number occurs more than once": 2,
        "header is missing": 1,
        "cannot be read": 1,
        "samples do not match the checksum": 1,
    }
    assert sorted(result.table.index) == ["1", "95"]


def test_a_table_with_windows_line_ends_and_a_byte_order_mark_gives_the_same_cohort(root: Path, tmp_path: Path) -> None:
    plain = build("ludb", root, tmp_path / "plain")
    table = root / "ludb" / "ludb.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    marked = build("ludb", root, tmp_path / "marked")
    assert plain.table.equals(marked.table)


def test_a_missing_table_or_column_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "ludb" / "ludb.csv"
    table.write_text(TABLE.replace("Hypertrophies", "Hypertrophy"))
    words = ["cohort", "build", "ludb", "--root", str(root), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "ludb.csv has no column 'Hypertrophies'" in capsys.readouterr().err
    table.unlink()
    assert main(words) == 1
    assert "got 0 folders with ludb.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real records are not here")
def test_the_published_records_become_studies_that_check_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = build("ludb", REAL, tmp_path / "out")
    assert sum(result.report["studies"].values()) == len(result.table) == 200
    assert not any(_counted(result).values())
    with (REAL / "ludb.csv").open(newline="", encoding="utf-8-sig") as stream:
        rows = {row["ID"]: row for row in csv.DictReader(stream)}
    for column, name in (
        ("Hypertrophies", "hypertrophy"),
        ("Ischemia", "ischemia"),
        ("Extrasystolies", "extrasystole"),
    ):
        assert result.table[name].to_dict() == {record: int(bool(row[column])) for record, row in rows.items()}
    assert result.table["sex"].value_counts().to_dict() == {"M": 115, "F": 85}
    assert result.table["rhythm"].value_counts()["Atrial fibrillation"] == 15
    assert result.table["axis"].isna().sum() == 10
    capsys.readouterr()
    assert main(["cohort", "check", str(tmp_path / "out" / "cohort.yaml"), "--workers", "0"]) == 0
