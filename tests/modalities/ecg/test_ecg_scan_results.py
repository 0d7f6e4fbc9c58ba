"""What carts measured and stated becomes columns of the table of `cohort scan`, from which a cohort can be read."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from benchmarks.cart_files import STATEMENT, WRITERS

from polyclinic.cohort import read_cohort
from polyclinic.cohort.scan import scan_folder
from polyclinic_ecg import ECG
from polyclinic_tabular import Tabular

SIGNAL = np.random.default_rng(0).normal(0, 0.3, (12, 500))


def write(folder: Path, *formats: str) -> Path:
    for number, name in enumerate(formats):
        writer, suffix, _ = WRITERS[name]
        (folder / f"P{number}").mkdir(parents=True)
        writer(folder / f"P{number}" / f"S{number}{suffix}", SIGNAL + number, 500)
    return folder


def test_measurements_and_statements_are_columns(tmp_path: Path) -> None:
    root = write(tmp_path / "archive", "ge-muse-xml", "scp-ecg", "edf")
    (root / "rows.csv").write_text("study_id,ecg_qt_ms\nS0,1\nS1,0\nS2,1\n")
    result = scan_folder(root, out=tmp_path / "cohort", modalities={"ecg": ECG()}, workers=1)
    table = pd.read_csv(tmp_path / "cohort" / "studies.csv", dtype=str, keep_default_na=False).set_index("study_id")
    assert table["ecg_pr_ms"].to_dict() == {"S0": "160", "S1": "160", "S2": ""}
    assert table["ecg_heart_rate_bpm"].to_dict() == {"S0": "61", "S1": "", "S2": ""}
    assert table["ecg_statements"].to_dict() == {"S0": STATEMENT, "S1": STATEMENT, "S2": ""}
    assert table["ecg_qt_ms"].to_dict() == {"S0": "1", "S1": "0", "S2": "1"}, "a column of a table is not replaced"
    columns = [column for column in table.columns if column.startswith("ecg_") and column != "ecg_qt_ms"]
    assert result.report["results"] == columns
    path = tmp_path / "cohort" / "cohort.yaml"
    content = yaml.safe_load(path.read_text())
    content["modalities"]["tabular"] = {"columns": ["ecg_pr_ms", "ecg_qrs_axis_deg"]}
    content["labels"] = {"stated": {"column": "ecg_statements", "pattern": STATEMENT.split()[0]}}
    path.write_text(yaml.safe_dump(content))
    first, second, third = sorted(read_cohort(path).studies, key=lambda study: study.study_id)
    assert Tabular(numeric=["ecg_pr_ms", "ecg_qrs_axis_deg"]).read(first.sources["tabular"])
    assert first.labels == second.labels == (1.0,)
    assert "tabular" not in third.sources


def test_a_folder_without_results_has_no_columns_and_no_comment_on_them(tmp_path: Path) -> None:
    result = scan_folder(
        write(tmp_path / "archive", "edf"), out=tmp_path / "cohort", modalities={"ecg": ECG()}, workers=1
    )
    assert result.report["results"] == []
    assert "Results that files state" not in (tmp_path / "cohort" / "cohort.yaml").read_text()
