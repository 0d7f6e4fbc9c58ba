"""A table joins a cohort by a column of ids: what matches is counted, and what contradicts is refused."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from polyclinic.cohort import read_cohort
from polyclinic.cohort.add import BEFORE, add_table
from polyclinic.cohort.label_text import with_labels

HEAD = "# ours\ntable: studies.csv\nstudy_id: study  # unique\npatient_id: study\nsplit: split\n"
SPEC = HEAD + "modalities: {values: {columns: [crp]}}\nlabels:\n- sick\n# the wards\ngroups: [ward]\n"
STUDIES = 'study,split,crp,ward,sick,note\n007,train,1,"a, b",0,x\n8,val,2,c,1,\nnine,test,3,c,,é\n'


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    (tmp_path / "studies.csv").write_text(STUDIES)
    (tmp_path / "cohort.yaml").write_text(SPEC)
    return tmp_path / "cohort.yaml"


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def write_excel(frame: pd.DataFrame, path: Path) -> None:
    frame.to_excel(path, index=False)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("name", "write"), [("new.csv", write_csv), ("new.xlsx", write_excel), ("new.parquet", write_parquet)]
)
def test_new_columns_are_joined_and_counted(
    cohort: Path, name: str, write: Callable[[pd.DataFrame, Path], None]
) -> None:
    table = cohort.with_name(name)
    # As a spreadsheet writes them: 007 as a number.
    write(pd.DataFrame({"study": [7, 10, 11], "ill": [-1, 0, 1], "dose": [2.5, 1, 1]}), table)
    added = add_table(cohort, table, on="study")
    assert (added.matched, added.unmatched, added.unused) == (1, 2, 2)
    assert (list(added.columns), list(added.labels)) == (["ill", "dose"], [])
    joined = pd.read_csv(cohort.with_name("studies.csv"), dtype=str, keep_default_na=False)
    assert joined[["ill", "dose"]].to_numpy().tolist() == [["-1", "2.5"], ["", ""], ["", ""]]
    earlier = pd.read_csv(cohort.with_name("studies.csv" + BEFORE), dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(joined.drop(columns=["ill", "dose"]), earlier)
    assert cohort.read_text() == SPEC


def test_findings_become_labels_and_comments_stay(cohort: Path) -> None:
    cohort.with_name("new.csv").write_text("study,ill,sure,kind\n7,1,true,x\n8,0,false,x\nnine,-1,,y\n")
    added = add_table(cohort, cohort.with_name("new.csv"), on="study")
    assert list(added.labels) == ["ill", "sure"]
    assert cohort.read_text() == SPEC.replace("- sick\n", "- sick\n- ill\n- sure\n")
    assert cohort.with_name("cohort.yaml" + BEFORE).read_text() == SPEC
    assert [study.labels[1] for study in read_cohort(cohort).studies] == [1, 0, -1]


def test_a_parquet_table_keeps_its_types(cohort: Path) -> None:
    stored = pd.DataFrame({"study": [7, 8], "split": ["train", "test"], "crp": [1.5, 2.5], "sick": [0, 1]})
    stored["ward"] = "c"
    stored.to_parquet(cohort.with_name("studies.parquet"))
    cohort.write_text(SPEC.replace("studies.csv", "studies.parquet"))
    cohort.with_name("new.csv").write_text("study,ill\n007,0\n")
    add_table(cohort, cohort.with_name("new.csv"), on="study")
    joined = pd.read_parquet(cohort.with_name("studies.parquet"))
    pd.testing.assert_frame_equal(joined.drop(columns="ill"), stored)
    assert joined["ill"].tolist()[0] == "0"
    assert pd.isna(joined["ill"][1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("study,ill\n7,1\n007,0\n", "1 values of 'study' in more than one row"),
        ("study,sick\n7,1\n", "has the column 'sick', which studies.csv has already"),
        ("study,ill\n70,1\n", "no cell of 'study' in studies.csv is in new.csv"),
        ("study\n7\n", "has no column beside 'study'"),
        ("id,ill\n7,1\n", "new.csv has no column 'study'"),
        ("study,ill\n7\n", "has 1 cells in line 2, expected 2"),
        ("", "new.csv is empty"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused_and_nothing_changes(cohort: Path, table: str, message: str) -> None:
    cohort.with_name("new.csv").write_text(table)
    before = {path: path.read_bytes() for path in cohort.parent.iterdir()}
    with pytest.raises(ValueError, match=message):
        add_table(cohort, cohort.with_name("new.csv"), on="study")
    assert {path: path.read_bytes() for path in cohort.parent.iterdir()} == before


def test_other_missing_columns_and_tables_are_refused(cohort: Path) -> None:
    cohort.with_name("new.csv").write_text("accession,ill\n7,1\n")
    with pytest.raises(ValueError, match=r"studies\.csv has no column 'accession'"):
        add_table(cohort, cohort.with_name("new.csv"), on="accession")
    with pytest.raises(ValueError, match=r"table 'none\.csv' does not exist"):
        add_table(cohort, cohort.with_name("none.csv"), on="study")
    cohort.write_text(SPEC.replace("studies.csv", "studies.csv.gz"))
    with pytest.raises(ValueError, match="is compressed, expected plain CSV or Parquet"):
        add_table(cohort, cohort.with_name("new.csv"), on="study")


def test_a_cell_that_the_encoding_lacks_is_refused(cohort: Path) -> None:
    cohort.write_text(SPEC + "encoding: latin-1\n")
    cohort.with_name("studies.csv").write_text(STUDIES, encoding="latin-1")
    cohort.with_name("new.csv").write_text("study,ill\n7,ł\n")
    before = {path: path.read_bytes() for path in cohort.parent.iterdir()}
    with pytest.raises(ValueError, match="cannot be written as latin-1"):
        add_table(cohort, cohort.with_name("new.csv"), on="study")
    assert {path: path.read_bytes() for path in cohort.parent.iterdir()} == before
    cohort.with_name("new.csv").write_text("study,ill\n7,ö\n")
    add_table(cohort, cohort.with_name("new.csv"), on="study")
    assert "ö" in cohort.with_name("studies.csv").read_text(encoding="latin-1")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "labels:\n- a\n- 'b: c'\n"),
        ("labels: []  # none\n", 'labels: [a, "b: c"]  # none\n'),
        ("labels: [é, z]  # ü\ngroups: [q]\n", 'labels: [é, z, a, "b: c"]  # ü\ngroups: [q]\n'),
        ("labels:\n  - z  # 1\n# 2\ngroups: []\n", 'labels:\n  - z  # 1\n  - a\n  - "b: c"\n# 2\ngroups: []\n'),
        ("labels:\n- z", 'labels:\n- z\n- a\n- "b: c"\n'),
        ("labels: {z: {column: y}}\n", 'labels: {z: {column: y}, a: {column: a}, "b: c": {column: "b: c"}}\n'),
        (
            "labels:\n  z:\n    column: y\n    values: {x: 1}\n# next\n",
            "labels:\n  z:\n    column: y\n    values: {x: 1}\n  a: {column: a}\n"
            '  "b: c": {column: "b: c"}\n# next\n',
        ),
    ],
)  # fmt: skip
def test_labels_are_inserted_into_the_text(before: str, after: str) -> None:
    text = "# é\n" + HEAD
    assert with_labels(text + before, ["a", "b: c"]) == text + after
    assert set(yaml.safe_load(text + after)["labels"]) >= {"a", "b: c"}
