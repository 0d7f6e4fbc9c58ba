"""Tables of every kind are read as the same text."""

import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from polyclinic.cohort.any_table import read_any_table

FRAME = pd.DataFrame({"id": ["007", "8"], "count": [1, 2], "share": [0.5, None], "text": [" a ", None]})
CELLS = [["007", "1", "0.5", "a"], ["8", "2", "", ""]]


def test_csv_parquet_and_excel_give_the_same_cells(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_parquet(tmp_path / "a.parquet", index=False)
    FRAME.to_excel(tmp_path / "a.xlsx", index=False)
    for name in ("a.csv", "a.parquet", "a.xlsx"):
        table = read_any_table(tmp_path / name)
        assert list(table.columns) == list(FRAME.columns)
        assert table.to_numpy().tolist() == CELLS, name


def test_rows_that_were_cleared_in_a_sheet_and_further_sheets_are_left_out(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "a.xlsx") as writer:
        pd.DataFrame({"id": ["1", "", "2"], "day": [date(2020, 1, 2), None, None]}).to_excel(writer, index=False)
        FRAME.to_excel(writer, sheet_name="other", index=False)
    assert read_any_table(tmp_path / "a.xlsx").to_numpy().tolist() == [["1", "2020-01-02 00:00:00"], ["2", ""]]


def test_damaged_tables_are_refused_without_their_cells(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(501_000_000))
    with zipfile.ZipFile(tmp_path / "other.xlsx", "w") as archive:
        archive.writestr("a.txt", "secret")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1secret")
    (tmp_path / "cut.xlsx").write_bytes(b"PK\3\4secret")
    pd.DataFrame(columns=["id", "id"]).to_excel(tmp_path / "twice.xlsx", index=False)
    pd.DataFrame().to_excel(tmp_path / "empty.xlsx", index=False)
    for name, message in (
        ("bomb.xlsx", "inflates to more than 500,000,000 bytes"),
        ("other.xlsx", "cannot be read as Excel"),
        ("cut.parquet", "cannot be read as a table"),
        ("cut.xlsx", "cannot be read as a table"),
        ("twice.xlsx", "has 2 columns called 'id'"),
        ("empty.xlsx", "is empty"),
        ("missing.csv", "cannot be read as a table"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read_any_table(tmp_path / name)
        assert "secret" not in str(caught.value)
