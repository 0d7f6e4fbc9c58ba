"""A cohort that is written as events comes back: sources, labels, groups and windows, each once."""

import json
from datetime import datetime
from pathlib import Path

import meds as meds_library
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from benchmarks.meds import lost_windows

from polyclinic.cli import main
from polyclinic.cohort import read_cohort
from polyclinic.cohort.meds import MedsDataset, write_cohort_events, write_meds

SPEC = """table: studies.csv
study_id: id
patient_id: patient
population: here
split: split
groups: [site]
labels:
  sick: {column: sick}
  view: {column: view, classes: [AP, PA]}
modalities:
  note: {text: note}
  cells: {columns: [age, smoker]}
  signal: {path: signal, row: row}
  xray: {path: image}
  stay: {meds: ward, time: time, before: 24h, subject: subject}
"""
ROWS = """id,patient,split,site,sick,view,note,age,smoker,signal,row,image,time,subject
a,P1,train,north,1,PA,Hello,61.3,never,all.npy,1,img/a.png,2024-01-02T00:00,11
b,P1,train,north,,AP,,,,,,,2024-01-02T12:00,11
c,P2,test,,0,,,,,,,img/c.png,,
"""


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    np.save(tmp_path / "all.npy", np.zeros((2, 3)))
    (tmp_path / "img").mkdir()
    for name in ("a", "c"):
        (tmp_path / "img" / f"{name}.png").write_bytes(b"1")
    times = pd.date_range("2024-01-01", "2024-01-04", freq="3h")
    events = {"subject_id": 11, "time": times, "code": "hr", "numeric_value": np.arange(len(times)), "unit": "/min"}
    twice = pd.concat([pd.DataFrame(events)] * 2)
    write_meds(tmp_path / "ward", twice.assign(device="cart 7"), dataset_name="ward")
    (tmp_path / "studies.csv").write_text(ROWS)
    (tmp_path / "cohort.yaml").write_text(SPEC)
    return tmp_path / "cohort.yaml"


def test_every_part_of_a_study_is_an_event_of_its_patient(cohort: Path, tmp_path: Path) -> None:
    read = read_cohort(cohort)
    done = write_cohort_events(read, tmp_path / "out", root=tmp_path, times={})
    table = MedsDataset(tmp_path / "out").events()
    assert meds_library.DataSchema.validate(table) is None
    rows = table.to_pandas()
    subjects = rows.groupby("study_id").subject_id.unique().map(list)
    assert subjects["a"] == subjects["b"] == [11]
    assert len(subjects["c"]) == 1
    assert subjects["c"] != [11]
    of_a = rows[rows.study_id == "a"]
    assert set(of_a.time) == {datetime(2024, 1, 2)}
    found = {
        row.code: (row.numeric_value, row.text_value, row.path, row.row)
        for row in of_a.replace({np.nan: None}).itertuples()
    }
    assert found == {
        "SOURCE//note": (None, "Hello", None, None),
        "SOURCE//cells//age": (pytest.approx(61.3), "61.3", None, None),
        "SOURCE//cells//smoker": (None, "never", None, None),
        "SOURCE//signal": (None, None, "all.npy", 1),
        "SOURCE//xray": (None, None, "img/a.png", None),
        "LABEL//sick": (1, None, None, None),
        "LABEL//view": (None, "PA", None, None),
        "GROUP//site": (None, "north", None, None),
    }
    assert set(rows[rows.study_id == "c"].code) == {"SOURCE//xray", "LABEL//sick"}
    assert rows[rows.study_id == "c"].time.isna().all()
    assert MedsDataset(tmp_path / "out").splits() == {11: "train", subjects["c"][0]: "held_out"}
    described = json.loads((tmp_path / "out" / "metadata" / "dataset.json").read_text())
    assert described["additional_value_modality_columns"] == ["path"]
    assert described["other_extension_columns"] == ["modality", "row", "device"]
    # The windows of a and b overlap; the ward has each event twice.
    stays = rows[rows.code == "hr"]
    inside = pd.date_range("2024-01-01", "2024-01-02T12:00", freq="3h")
    assert stays.time.tolist() == sorted([*inside, *inside])
    assert set(stays.device) == {"cart 7"}
    assert done == (len(rows), 2, 3, 2 * len(inside), 2)


def test_nothing_is_lost_or_changed_on_the_way_out_and_in(cohort: Path, tmp_path: Path) -> None:
    read = read_cohort(cohort)
    folder = tmp_path / "trip"
    folder.mkdir()
    write_cohort_events(read, folder / "events", root=tmp_path, times={})
    assert lost_windows(read, folder) == 0
    table = pq.read_table(folder / "events" / "data" / "0.parquet")
    changed = table.set_column(
        table.column_names.index("numeric_value"),
        "numeric_value",
        [[None if value is None else value + 1 for value in table["numeric_value"].to_pylist()]],
    )
    pq.write_table(changed, folder / "events" / "data" / "0.parquet")
    assert lost_windows(read, folder) > 0


def test_times_come_from_a_column_and_subjects_from_integer_patients(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = SPEC.replace("  stay: {meds: ward, time: time, before: 24h, subject: subject}\n", "")
    cohort.write_text(text)
    (tmp_path / "studies.csv").write_text(
        ROWS.replace("P1", "71").replace("P2", "72").replace(",,\n", ",2024-05-01,\n")
    )
    assert main(["cohort", "events", "cohort.yaml", "--out", "out", "--time", "time"]) == 0
    printed = capfd.readouterr()
    assert "0 of them from windows" in printed.out
    rows = MedsDataset(tmp_path / "out").events().to_pandas()
    assert set(rows.subject_id) == {71, 72}
    assert set(rows[rows.study_id == "c"].time) == {datetime(2024, 5, 1)}
    for words, message in (
        (["--out", "out"], "set `--out` to a new folder"),
        (["--out", "new", "--time", "when"], "set `--time` to a column"),
        (["--out", "new", "--time", "note"], "study 'a' has a time that is not in ISO 8601"),
    ):
        assert main(["cohort", "events", "cohort.yaml", *words]) == 1
        assert message in capfd.readouterr().err
    assert not (tmp_path / "new").exists()


def test_windows_that_break_meanwhile_and_shared_subjects_leave_nothing(cohort: Path, tmp_path: Path) -> None:
    read = read_cohort(cohort)
    shard = tmp_path / "ward" / "data" / "0.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    with pytest.raises(ValueError, match="windows of a subject cannot be read"):
        write_cohort_events(read, tmp_path / "out", root=tmp_path, times={})
    shard.write_bytes(whole)
    (tmp_path / "studies.csv").write_text(
        ROWS.replace("c,P2,test,,0,,,,,,,img/c.png,,", "c,P2,test,,0,,,,,,,,2024-01-02,11")
    )
    with pytest.raises(ValueError, match="two patients with one subject"):
        write_cohort_events(read_cohort(cohort), tmp_path / "out", root=tmp_path, times={})
    assert not (tmp_path / "out").exists()
