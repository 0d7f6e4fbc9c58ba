"""PTB-XL as it lies on disk, as a cohort."""

from pathlib import Path

import pandas as pd
import pytest

from layouts.built import build
from layouts.ptbxl import write_ptbxl
from polyclinic_ecg import ECG

REAL = Path(__file__).parents[3] / "shared/real/ptbxl500"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ptbxl(tmp_path / "physionet" / "ptb-xl")
    return tmp_path / "physionet"


def test_folds_superclasses_and_groups_come_from_the_tables(root: Path, tmp_path: Path) -> None:
    result = build("ptbxl", root, tmp_path / "out")
    assert result.table["split"].to_dict() == {1: "train", 2: "val", 3: "test", 4: "train", 1000: "train"}
    assert result.table["patient_id"].tolist() == [15709, 13243, 20372, 17014, 15709]
    labels = {study.study_id: study.labels for study in result.cohort.studies}
    assert result.cohort.labels == ("NORM", "MI", "STTC", "CD", "HYP")
    assert labels["1"] == (1, 0, 0, 0, 0)
    assert labels["3"] == (0, 1, 0, 0, 1)
    assert labels["1000"] == (0, 0, 0, 1, 0)
    assert all(value != value for value in labels["4"])  # only a rhythm: unknown rather than healthy
    groups = {study.study_id: study.groups for study in result.cohort.studies}
    assert groups["3"] == {"sex": "F", "age_band": "90 and over", "site": "", "device": "CS-12   E"}
    assert result.cohort.population == "ptb-xl"
    rows = {study.study_id: study.sources["tabular"] for study in result.cohort.studies}
    assert (rows["2"], rows["3"]) == ({"age": "19.0", "sex": "M"}, {"age": "90.0", "sex": "F"})  # 300 in the table


def test_records_are_read_and_a_blank_report_is_a_missing_modality(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("ptbxl", root, tmp_path / "out").cohort.studies}
    raw = ECG().read(studies["1"].sources["ecg"])
    assert (raw.rate, raw.facts["leads"]) == (500, 12)
    assert set(studies["4"].sources) == {"ecg", "tabular"}
    assert studies["1000"].sources["report"] == 'links "typ" belastet'


def test_a_missing_file_is_excluded_and_counted(root: Path, tmp_path: Path) -> None:
    result = build("ptbxl", root, tmp_path / "out", "--rate", "100")
    assert result.excluded() == {"no recommended fold": 0, "header is missing": 1}
    assert result.report["flow"][0]["start"] == 5
    assert result.report["studies"] == {"train": 2, "val": 1, "test": 1}
    assert len(result.report["tables"]["ptbxl_database.csv"]["sha256"]) == 64


@pytest.mark.skipif(not REAL.is_dir(), reason="the real records are not here")
def test_the_first_500_published_records_become_studies_with_age_and_sex(tmp_path: Path) -> None:
    result = build("ptbxl", REAL, tmp_path / "out")
    assert result.report["studies"] == {"train": 353, "val": 81, "test": 66}
    assert "files of 100 Hz" in result.report["notes"]  # those of 500 Hz are not here
    assert result.cohort.present_share() == {"ecg": 1, "report": 499 / 500, "tabular": 1}
    table = result.table
    assert (table["sex"].value_counts().to_dict(), table["age"].isna().sum()) == ({"F": 251, "M": 249}, 4)
    heights = pd.read_csv(REAL / "ptbxl_database.csv", index_col="ecg_id").groupby(table["sex"])["height"].mean()
    assert heights["M"] - heights["F"] > 10  # cm
