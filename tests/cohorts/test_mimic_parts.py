"""An older or partial release of MIMIC is refused in one sentence: what it has, what it lacks, what leaves that out."""

import gzip
from pathlib import Path

import pytest

from layouts.mimic import Admission, Lab, write_mimic
from polyclinic.cli import main

SUBJECT = 10000032
STAY = Admission(SUBJECT, 1, "2180-05-06 22:30:00", "2180-05-09 22:30:00")
HOSP, CXR, ECG = "mimiciv/2.2", "mimic-cxr-jpg/2.0.0", "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    labs = [Lab(1, SUBJECT, 50912, "2180-05-06 23:30:00", "2180-05-06 23:50:00", 1.5)]
    write_mimic(tmp_path / "root", admissions=[STAY], labs=labs)
    return tmp_path / "root"


def _error(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    out = root.with_name("out")
    assert main(["cohort", "build", "mimic", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    message = capsys.readouterr().err.strip()
    assert str(root) not in message
    return message


def _rename(file: Path, column: str, other: str) -> None:
    header, _, rows = gzip.decompress(file.read_bytes()).decode().partition("\n")
    file.write_bytes(gzip.compress(f"{header.replace(column, other)}\n{rows}".encode()))


def test_everything_that_is_missing_is_listed_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / HOSP / "hosp/labevents.csv.gz").unlink()
    (root / CXR / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    (root / ECG / "record_list.csv").unlink()
    message = _error(root, capsys, "--notes.lower", "-24", "--notes.upper", "0")
    assert message == (
        f"error: found below the root: MIMIC-IV in {HOSP}/, MIMIC-CXR-JPG in {CXR}/; but "
        "MIMIC-IV lacks hosp/labevents.csv.gz; set `--root` or, to link none, `--labs null`; and "
        "MIMIC-CXR-JPG lacks mimic-cxr-2.0.0-chexpert.csv.gz; set `--root` or, to link none, `--xray null`; and "
        "MIMIC-IV-ECG lacks record_list.csv; set `--root` or, to link none, `--ecg null`; and "
        "MIMIC-IV-Note lacks note/radiology.csv.gz; set `--root` or, to link none, `--notes null`"
    )


def test_the_named_options_leave_the_missing_parts_out(root: Path) -> None:
    (root / CXR / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    (root / ECG / "record_list.csv").unlink()
    words = ["cohort", "build", "mimic", "--root", str(root), "--out", str(root.with_name("out"))]
    assert main([*words, "--xray", "null", "--ecg", "null"]) == 0


@pytest.mark.parametrize(
    ("table", "column", "other", "part"),
    [
        (f"{HOSP}/hosp/admissions.csv.gz", "race", "ethnicity", "set `--root` to a folder with MIMIC-IV 2.0 or later"),
        (f"{HOSP}/hosp/labevents.csv.gz", "storetime", "stored", "to link none, `--labs null`"),
        (f"{CXR}/mimic-cxr-2.0.0-chexpert.csv.gz", "Lung Opacity", "Airspace Opacity", "to link none, `--xray null`"),
    ],
)
def test_a_table_with_other_columns_is_named_with_those_that_it_has(
    root: Path, capsys: pytest.CaptureFixture[str], table: str, column: str, other: str, part: str
) -> None:
    _rename(root / table, column, other)
    message = _error(root, capsys)
    assert f"{Path(table).name} has no column '{column}', it has [" in message
    assert f"'{other}'" in message
    assert message.endswith(part)
    assert "MIMIC-IV-ECG in" in message


def test_the_layouts_of_other_releases_are_recognised(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / HOSP / "core").mkdir()
    for name in ("admissions", "patients"):
        (root / HOSP / f"hosp/{name}.csv.gz").rename(root / HOSP / f"core/{name}.csv.gz")
    for name in ("metadata", "chexpert"):
        (root / CXR / f"mimic-cxr-2.0.0-{name}.csv.gz").unlink()
    (root / CXR / "cxr-record-list.csv.gz").write_bytes(gzip.compress(b"subject_id,study_id,dicom_id,path\n"))
    message = _error(root, capsys)
    assert "MIMIC-IV before 2.0, with its admissions in core/" in message
    assert "MIMIC-CXR with DICOM files, which has no table of MIMIC-CXR-JPG; but " in message
    assert "MIMIC-IV lacks hosp/admissions.csv.gz and hosp/patients.csv.gz; set `--root`" in message


def test_an_empty_root_and_an_anchor_that_cannot_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    message = _error(root, capsys, "--anchor", "xray", "--ecg", "null")
    assert "found below the root: none of the data sets; but MIMIC-IV lacks " in message
    assert message.endswith("set `--root`, or another `--anchor` with `--xray null`")
    message = _error(root, capsys, "--preset", "symile-mimic")
    assert message.endswith("to link none, `--ecg null` instead of `--preset symile-mimic`")
