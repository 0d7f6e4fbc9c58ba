"""Cohort files: what they mean, and messages about bad ones."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from polyclinic.cohort import Cohort, read_cohort

ROWS = [
    {"id": "a", "who": "P1", "part": "train", "note": "one", "pic": "a.txt", "age": "61", "sick": "1"},
    {"id": "b", "who": "P1", "part": "train", "note": "", "pic": "b.txt", "age": "", "sick": "0"},
    {"id": "c", "who": "P2", "part": "val", "note": "three", "pic": "", "age": "40", "sick": ""},
    {"id": "d", "who": "P3", "part": "test", "note": "N/A", "pic": "d.txt", "age": "33", "sick": "-1"},
]
SPEC: dict[str, Any] = {
    "table": "table.csv",
    "study_id": "id",
    "patient_id": "who",
    "split": "part",
    "missing": ["N/A"],
    "modalities": {"note": {"text": "note"}, "pic": {"path": "pic"}, "vitals": {"columns": ["age"]}},
    "labels": ["sick"],
    "groups": ["part"],
}


def _write(folder: Path, *, rows: list[dict[str, str]] | None = None, **changes: Any) -> Path:
    for name in "abd":
        (folder / f"{name}.txt").write_text(name)
    pd.DataFrame(ROWS if rows is None else rows).to_csv(folder / "table.csv", index=False)
    path = folder / "cohort.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes))
    return path


def _rows_with(row: int, **cells: str) -> list[dict[str, str]]:
    return [entry | cells if index == row else entry for index, entry in enumerate(ROWS)]


def _read(folder: Path, **settings: Any) -> Cohort:
    return read_cohort(_write(folder, **settings))


def test_sources_labels_and_missing_cells_are_read(tmp_path: Path) -> None:
    cohort = _read(tmp_path)
    by_id = {study.study_id: study for study in cohort.studies}
    assert by_id["a"].sources == {"note": "one", "pic": tmp_path / "a.txt", "vitals": {"age": "61"}}
    assert set(by_id["b"].sources) == {"pic"}
    assert set(by_id["d"].sources) == {"pic", "vitals"}
    assert by_id["d"].labels == (-1.0,)
    assert by_id["c"].labels[0] != by_id["c"].labels[0]
    assert cohort.present_share() == {"note": 0.5, "pic": 0.75, "vitals": 0.75}
    assert [study.study_id for study in cohort.split("train")] == ["a", "b"]


def test_parquet_reads_the_same_studies(tmp_path: Path) -> None:
    rows = [entry | {"sick": "1"} for entry in ROWS]
    expected = _read(tmp_path, rows=rows)
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    assert _read(tmp_path, rows=rows, table="table.parquet").studies == expected.studies


def test_a_template_finds_existing_files_only(tmp_path: Path) -> None:
    cohort = _read(tmp_path, modalities={"pic": {"path": "{id}.t*"}})
    assert [study.study_id for study in cohort.studies if "pic" in study.sources] == ["a", "b", "d"]
    (tmp_path / "a.tiff").touch()
    with pytest.raises(ValueError, match=r"study 'a': 2 files match `modalities.pic.path`"):
        _read(tmp_path, modalities={"pic": {"path": "{id}.t*"}})


def test_a_pattern_gives_the_patient_and_a_patient_is_in_one_split(tmp_path: Path) -> None:
    rows = [entry | {"id": name} for entry, name in zip(ROWS, ["K1a", "K1b", "K2", "K3"], strict=True)]
    patient = {"column": "id", "pattern": r"(K\d)"}
    shares = {"train": 0.5, "val": 0.2, "test": 0.3, "seed": 4}
    cohort = _read(tmp_path, rows=rows, patient_id=patient, split=shares)
    assert [study.patient_id for study in cohort.studies] == ["K1", "K1", "K2", "K3"]
    assert cohort.studies[0].split == cohort.studies[1].split


def test_a_hashed_split_follows_its_shares_and_never_moves_a_patient(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"id": str(index), "who": f"P{index}", "pic": ""} for index in range(2000)]
    shares = {"train": 0.6, "val": 0.1, "test": 0.3}
    settings = {"split": shares, "modalities": {"note": {"text": "note"}}}
    large = _read(tmp_path, rows=rows, **settings)
    assert abs(len(large.split("train")) / 2000 - 0.6) < 0.05
    assert abs(len(large.split("test")) / 2000 - 0.3) < 0.05
    small = _read(tmp_path, rows=rows[:200], **settings)
    assert [study.split for study in small.studies] == [study.split for study in large.studies[:200]]


def test_values_map_cells_to_labels(tmp_path: Path) -> None:
    values = {"column": "note", "values": {"one": 1, "three": 0}}
    assert [study.labels[0] for study in _read(tmp_path, labels={"first": values}).studies][::2] == [1.0, 0.0]


def test_the_fingerprint_depends_on_the_content(tmp_path: Path) -> None:
    first = _read(tmp_path).fingerprint
    assert _read(tmp_path).fingerprint == first
    assert _read(tmp_path, rows=_rows_with(0, sick="0")).fingerprint != first
    assert _read(tmp_path, labels=[]).fingerprint != first
    path = _write(tmp_path)
    (tmp_path / "a.txt").write_text("longer")
    assert read_cohort(path).fingerprint != first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": _rows_with(2, who="P1")}, r"1 patients are in more than one split .*study 'b' in train.*'c' in val"),
        ({"rows": _rows_with(1, id="a")}, r"duplicate study ids \['a'\]"),
        ({"rows": _rows_with(1, id="")}, r"row 2 of table.csv has no id"),
        ({"rows": _rows_with(1, who="")}, r"study 'b' has no patient"),
        ({"rows": _rows_with(1, pic="gone.txt")}, r"pic source of 1 studies does not exist \(studies \['b'\]\)"),
        ({"rows": _rows_with(1, sick="maybe")}, r"study 'b' has 'maybe' as label 'sick'"),
        ({"rows": _rows_with(1, part="training")}, r"study 'b' has split 'training'"),
        ({"rows": [entry | {"note": ""} for entry in ROWS]}, r"no study has modality 'note'"),
        ({"study_id": "nope"}, r"`study_id` names column 'nope'"),
        ({"labels": ["nope"]}, r"`labels.nope` names column 'nope'"),
        ({"modalities": {"pic": {"path": "{nope}.txt"}}}, r"`modalities.pic.path` names column 'nope'"),
        ({"modalities": {"pic": {"file": "pic"}}}, r"got modalities.pic = "),
        ({"modalities": {}}, r"lacks \['modalities'\]"),
        ({"split": {"train": 0.5, "test": 0.4}}, r"shares of train, val and test that sum to 1"),
        ({"colour": "blue"}, r"got key of cohort.yaml 'colour', expected"),
        ({"table": "gone.csv"}, r"table 'gone.csv' does not exist"),
        ({"encoding": "utf-16"}, r"set `encoding`|cannot be read"),
    ],
)
def test_bad_cohorts_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _read(tmp_path, **settings)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cohort.yaml"
    with pytest.raises(ValueError, match="does not exist"):
        read_cohort(path)
    path.write_text("a: [1")
    with pytest.raises(ValueError, match="not YAML"):
        read_cohort(path)
    path.write_text("- a\n")
    with pytest.raises(ValueError, match="expected a mapping"):
        read_cohort(path)
