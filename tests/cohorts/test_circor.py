"""CirCor DigiScope as it lies on disk, as a cohort."""

from pathlib import Path

import pytest

from layouts.built import Result, build
from layouts.circor import PATIENTS, recordings, write_circor, write_recording
from polyclinic.cli import main
from polyclinic_audio import Audio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_circor(tmp_path / "circor")
    return tmp_path / "circor"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "circor", "--root", str(root), "--out", str(out), *options]) != 0
    assert not out.exists()
    return capsys.readouterr().err


def _events(result: Result) -> dict[str, int]:
    return {event["reason"]: event["rows"] for arm in result.report["flow"] for event in arm["events"] if event["rows"]}


def test_a_recording_has_a_murmur_where_the_table_lists_its_place(root: Path, tmp_path: Path) -> None:
    result = build("circor", root, tmp_path / "out")
    assert result.cohort.labels == ("murmur", "murmur_class", "abnormal")
    labels = {study.study_id: study.labels for study in result.cohort.studies}
    assert sorted(labels) == sorted(name for patient in PATIENTS for name in recordings(patient))
    assert {name: labels[name][:2] for name in ("9979_AV", "9979_MV", "9979_PV", "2530_AV", "9983_TV")} == {
        "9979_AV": (1, 0), "9979_MV": (1, 0), "9979_PV": (0, 1), "2530_AV": (0, 1), "9983_TV": (-1, 2),
    }  # fmt: skip
    assert {name: labels[name][2] for name in ("2530_AV", "9979_PV", "9983_AV", "68406_MV_1")} == {
        "2530_AV": 1, "9979_PV": 1, "9983_AV": 0, "68406_MV_1": 0,
    }  # fmt: skip
    assert labels["85345_Phc"][2] != labels["85345_Phc"][2]
    assert result.cohort.population == "circor"


def test_a_patient_of_both_campaigns_is_one_patient(root: Path, tmp_path: Path) -> None:
    result = build("circor", root, tmp_path / "out")
    people = result.table["patient_id"]
    assert set(people[["9983_AV", "9983_TV", "68406_MV_1", "68406_MV_2"]]) == {"68406"}
    assert people["2530_AV"] == "2530"
    assert sum(result.report["patients"].values()) == 4
    assert _events(result) == {
        "with a second number, of the other campaign": 2,
        "of unknown murmur": 2,
        "without an outcome": 1,
        "of unknown sex": 1,
        "of unknown age group": 2,
    }


def test_a_patient_whose_second_number_is_named_on_one_side_only_is_one_patient(tmp_path: Path) -> None:
    patients = tuple(
        patient._replace(other_number="nan") if patient.number == "68406" else patient for patient in PATIENTS
    )
    write_circor(tmp_path / "circor", patients=patients)
    people = build("circor", tmp_path / "circor", tmp_path / "out").table["patient_id"]
    assert set(people[["9983_AV", "68406_MV_1"]]) == {"68406"}


def test_sounds_and_groups_are_read(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("circor", root, tmp_path / "out").cohort.studies}
    raw = Audio().read(studies["2530_AV"].sources["audio"])
    assert raw.rate == 4000
    assert studies["68406_MV_2"].groups == {
        "sex": "M", "age_group": "", "location": "MV", "campaign": "CC2015", "pregnant": "yes",
    }  # fmt: skip
    assert studies["9979_PV"].sources["tabular"] == {
        "age_group": "Child", "sex": "F", "height": "103.0", "weight": "13.1",
    }  # fmt: skip


def test_a_row_is_a_patient_with_the_preferred_place_when_set(root: Path, tmp_path: Path) -> None:
    result = build("circor", root, tmp_path / "out", "--unit", "patient", "--locations", "[MV, TV, Phc]")
    assert result.table["audio"].to_dict() == {
        "2530": "training_data/2530_MV.wav", "68406": "training_data/68406_MV_1.wav",
        "85345": "training_data/85345_Phc.wav", "9979": "training_data/9979_MV.wav",
        "9983": "training_data/9983_TV.wav",
    }  # fmt: skip
    assert result.table["murmur"].to_dict() == {"2530": 0, "68406": 0, "85345": 0, "9979": 1, "9983": -1}


def test_odd_files_and_rows_are_counted(root: Path, tmp_path: Path) -> None:
    folder = root / "training_data"
    (folder / "2530_AV.wav").unlink()
    write_recording(folder, "777_AV")
    write_recording(folder, "2530_XX")
    (folder / "._2530_PV.wav").write_bytes(b"of a Mac")
    table = root / "training_data.csv"
    lines = table.read_text().splitlines()
    odd = [lines[1].replace("2530", "1111").replace("Absent", "Perhaps"), lines[5], lines[1].replace("2530", "nan")]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, *odd]).encode())
    write_recording(folder, "1111_AV")
    result = build("circor", root, tmp_path / "out")
    events = _events(result)
    assert {reason: events[reason] for reason in ("no number", "number occurs more than once")} == {
        "no number": 1, "number occurs more than once": 2,
    }  # fmt: skip
    assert events["name has no patient and place"] == 1
    assert events["patient is not in training_data.csv"] == 2
    assert events["without a murmur label"] == 1
    assert "2530_AV" not in result.table.index
    assert "85345_Phc" not in result.table.index


def test_a_missing_table_folder_or_column_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "training_data.csv"
    text = table.read_text()
    table.write_text(text.replace("Murmur,", "Murmurs,"))
    assert "training_data.csv has no column 'Murmur'" in _error_of_build(root, tmp_path / "out", capsys)
    table.write_text(text)
    for file in (root / "training_data").glob("*.wav"):
        file.unlink()
    assert "no study remains" in _error_of_build(root, tmp_path / "out", capsys)
    (root / "training_data").rename(root / "sounds")
    message = _error_of_build(root, tmp_path / "out", capsys)
    assert "the folder training_data is not beside training_data.csv" in message
    table.unlink()
    assert "got 0 folders with training_data.csv" in _error_of_build(root, tmp_path / "out", capsys)
    message = _error_of_build(root, tmp_path / "out", capsys, "--locations", "[AV, XX]")
    assert "got location 'XX', expected some of AV, PV" in message
