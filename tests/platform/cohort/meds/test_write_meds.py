"""Writing MEDS datasets: schema, order, files of a subject, and refusals."""

import json

import meds
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyclinic.cohort.meds import MedsDataset, write_meds


def events(**columns: object) -> pd.DataFrame:
    base = {
        "subject_id": [7, 3, 7, 3],
        "time": pd.to_datetime(["2024-01-02", "2024-01-05", None, "2024-01-01"]),
        "code": ["b", "c", "sex", "a"],
        "numeric_value": [1.5, np.nan, np.nan, 2.0],
        "text_value": [None, "high", "F", None],
        "unit": ["mmol/L", None, None, "g/dL"],
    }
    return pd.DataFrame(base | columns)


def test_a_written_dataset_follows_the_schema_and_is_sorted_with_facts_first(tmp_path):
    folder = tmp_path / "out"
    write_meds(folder, events(), dataset_name="ward", splits={3: "train", 7: "test"}, descriptions={"a": "albumin"})
    table = pq.read_table(folder / "data" / "0.parquet")
    assert meds.DataSchema.validate(table) is None
    assert table["subject_id"].to_pylist() == [3, 3, 7, 7]
    assert table["code"].to_pylist() == ["a", "c", "sex", "b"]
    assert table["unit"].to_pylist() == ["g/dL", None, None, "mmol/L"]
    assert table["numeric_value"].to_pylist() == [2.0, None, None, 1.5]
    codes = pq.read_table(folder / "metadata" / "codes.parquet")
    assert meds.CodeMetadataSchema.validate(codes) is None
    assert dict(zip(codes["code"].to_pylist(), codes["description"].to_pylist(), strict=True)) == {
        "a": "albumin", "b": None, "c": None, "sex": None,
    }  # fmt: skip
    described = json.loads((folder / "metadata" / "dataset.json").read_text())
    assert (described["dataset_name"], described["code_modifier_columns"]) == ("ward", ["unit"])
    assert MedsDataset(folder).splits() == {3: "train", 7: "held_out"}
    assert MedsDataset(folder).events().equals(table)


def test_all_events_of_a_subject_are_in_one_file(tmp_path):
    subjects = np.repeat(np.arange(20), 7)
    table = pd.DataFrame({"subject_id": subjects, "time": pd.Timestamp("2024-01-01"), "code": "x"})
    write_meds(tmp_path / "out", table, dataset_name="many", shard_rows=10)
    shards = [set(pq.read_table(path)["subject_id"].to_pylist()) for path in (tmp_path / "out" / "data").iterdir()]
    assert len(shards) == 10
    assert sum(map(len, shards)) == 20
    assert len(MedsDataset(tmp_path / "out").events()) == 140


def test_a_dataset_without_events_is_a_dataset(tmp_path):
    write_meds(tmp_path / "out", events().iloc[:0].astype({"subject_id": "int64"}), dataset_name="empty")
    assert len(MedsDataset(tmp_path / "out").events()) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"subject_id": ["a", "b", "c", "d"]}, "expected integers"),
        ({"subject_id": [1.5, 2.0, 3.0, 4.0]}, "expected integers"),
        ({"subject_id": pd.array([1, None, 2, 3], dtype="Int64")}, "1 events without a subject"),
        ({"code": ["a", None, "b", "c"]}, "1 without a code"),
        ({"code": ["a", " ", "b", "c"]}, "1 events with a blank code"),
        ({"time": ["2024", "2025", "2026", "2027"]}, "expected timestamps"),
        ({"time": pd.to_datetime(["2024-01-01"] * 4).tz_localize("Europe/Berlin")}, "without one; convert `time`"),
        ({"numeric_value": [np.inf, 1.0, 2.0, 3.0]}, "1 numeric values that are infinite"),
        ({"numeric_value": [1e300, 1.0, 2.0, 3.0]}, "1 numeric values that are infinite"),
        ({"numeric_value": ["a", "b", "c", "d"]}, "expected numbers"),
        ({"text_value": [1, "Doe^John", 2, 3]}, "mixed types"),
    ],
)
def test_events_that_break_the_schema_are_refused_and_nothing_is_written(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message) as refused:
        write_meds(tmp_path / "out", events(**columns), dataset_name="ward")
    assert "Doe" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_other_refusals_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="without code, time"):
        write_meds(tmp_path / "out", pa.table({"subject_id": [1]}), dataset_name="ward")
    with pytest.raises(ValueError, match="1 of 2 subjects without a split"):
        write_meds(tmp_path / "out", events(), dataset_name="ward", splits={3: "train"})
    with pytest.raises(ValueError, match="got split 'dev'"):
        write_meds(tmp_path / "out", events(), dataset_name="ward", splits={3: "train", 7: "dev"})
    with pytest.raises(ValueError, match="expected fields of the MEDS dataset schema"):
        write_meds(tmp_path / "out", events(), dataset_name="ward", metadata={"site_id_columns": "ward"})
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        write_meds(tmp_path / "out", events(), dataset_name="ward")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]
