"""Coswara as it lies on disk, as a cohort."""

import csv
import json
from pathlib import Path

import pytest

from layouts.built import Result, build
from layouts.coswara import PEOPLE, RATE, TABLE, write_coswara, write_recording
from polyclinic.cli import main
from polyclinic_audio import Audio
from polyclinic_cohorts.coswara import HISTORY

HEALTHY, MILD, RECOVERED, BAD, ODD = PEOPLE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coswara(tmp_path / "coswara")
    return tmp_path / "coswara"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "coswara", "--root", str(root), "--out", str(out), *options]) != 0
    assert not out.exists()
    return capsys.readouterr().err


def _events(result: Result) -> dict[str, int]:
    return {event["reason"]: event["rows"] for arm in result.report["flow"] for event in arm["events"] if event["rows"]}


def test_the_heavy_cough_of_a_participant_is_a_study_with_its_status(root: Path, tmp_path: Path) -> None:
    result = build("coswara", root, tmp_path / "out")
    assert result.table["audio"].to_dict() == {
        person: f"Extracted_data/{day}/{person}/cough-heavy.wav" for person, (day, _) in PEOPLE.items() if person != BAD
    }
    assert result.cohort.labels == ("covid", "test_positive", "status")
    covid = result.table["covid"].astype("Float64").fillna(9).to_dict()
    assert covid == {HEALTHY: 0, MILD: 1, RECOVERED: -1, ODD: 9}
    tested = result.table["test_positive"].astype("Float64").fillna(9).to_dict()
    assert tested == {HEALTHY: 9, MILD: 1, RECOVERED: 0, ODD: 9}
    assert _events(result) == {
        "annotated with a quality below 1": 1,
        "of a quality that was not annotated": 1,
        "of uncertain status": 1,
        "of unknown status": 1,
        "of unknown sex": 1,
    }
    assert result.cohort.population == "coswara"


def test_answers_are_tabular_and_blank_ones_are_not_no(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("coswara", root, tmp_path / "out").cohort.studies}
    answers = {name: value for name, value in studies[MILD].sources["tabular"].items() if value}
    assert answers == {
        "age": "72.0", "sex": "F", "breathing_difficulty": "yes", "cold": "yes", "cough": "yes", "diabetes": "yes",
        "fatigue": "yes", "fever": "yes", "loss_of_smell": "yes", "smoker": "no",
    }  # fmt: skip
    assert {name: value for name, value in studies[HEALTHY].sources["tabular"].items() if value} == {
        "age": "24.0", "sex": "M",
    }  # fmt: skip
    assert studies[RECOVERED].groups == {
        "sex": "other", "age_band": "40 to 64", "country": "Oman", "recording": "cough-heavy",
    }  # fmt: skip
    assert Audio().read(studies[ODD].sources["audio"]).rate == RATE


def test_several_recordings_are_rows_of_one_patient(root: Path, tmp_path: Path) -> None:
    options = ("--recordings", "[cough-heavy, vowel-a, vowel-a]", "--min_quality", "0")
    result = build("coswara", root, tmp_path / "out", *options)
    assert len(result.table) == 2 * len(PEOPLE)
    assert result.table["patient_id"][f"{BAD}_vowel-a"] == BAD
    assert result.table.groupby("patient_id")["split"].nunique().eq(1).all()
    assert result.table["age"][[f"{BAD}_vowel-a"]].isna().all()  # 0 years


def test_without_annotations_no_quality_is_known(tmp_path: Path) -> None:
    write_coswara(tmp_path / "coswara", annotations=False)
    result = build("coswara", tmp_path / "coswara", tmp_path / "out")
    assert len(result.table) == len(PEOPLE)
    assert "the quality of the recordings is unknown, as annotations were not found" in result.report["notes"]


def test_empty_copied_and_unknown_recordings_are_excluded(root: Path, tmp_path: Path) -> None:
    days = root / "Extracted_data"
    (days / "20200413" / HEALTHY / "cough-heavy.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(28))
    (days / "20200415" / MILD / "cough-heavy.wav").write_bytes(b"not a sound, but long enough to be one" * 4)
    (days / "20200415" / RECOVERED / "cough-heavy.wav").unlink()
    write_recording(days / "20200501" / ODD / "cough-heavy.wav")
    write_recording(days / "20200501" / "unknown" / "cough-heavy.wav")
    write_recording(days / "20200501" / ODD / "._cough-heavy.wav")
    table = root / "combined_data.csv"
    repeated = TABLE.splitlines()[4]
    table.write_bytes(b"\xef\xbb\xbf" + f"{TABLE}{repeated}\n".replace("\n", "\r\n").encode())
    result = build("coswara", root, tmp_path / "out")
    assert {reason: rows for reason, rows in result.excluded().items() if rows} == {
        "id occurs more than once": 2,
        "folder is not of a participant in combined_data.csv": 2,
        "a copy in another folder": 1,
        "sound file has no samples": 2,
    }
    assert result.table.index.tolist() == [ODD]


def test_a_table_of_the_first_months_lacks_symptoms(root: Path, tmp_path: Path) -> None:
    header = "id,l_c,a,covid_status,ep,g,l_s,l_l,diabetes,asthma,smoker,ht"
    (root / "combined_data.csv").write_text(f"{header}\n{HEALTHY},India,24,healthy,y,male,Goa,,True,,,")
    result = build("coswara", root, tmp_path / "out")
    assert [name for name, value in result.cohort.studies[0].sources["tabular"].items() if value] == [
        "age", "sex", "diabetes",
    ]  # fmt: skip
    assert result.table["test_positive"].isna().all()


def test_answers_in_json_are_read_where_the_table_is_absent(root: Path, tmp_path: Path) -> None:
    expected = build("coswara", root, tmp_path / "expected").table
    with (root / "combined_data.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            answers = {key: value == "True" or value for key, value in row.items() if value and key != "id"}
            day, _ = PEOPLE[row["id"]]
            file = root / "Extracted_data" / day / row["id"] / "metadata.json"
            file.write_text(json.dumps(answers | {"a": int(row["a"]), "nested": {"a": [1]}}))
    (root / "combined_data.csv").unlink()
    table = build("coswara", root, tmp_path / "out").table
    assert table[sorted(table)].equals(expected[sorted(table)])
    assert set(expected) - set(table) <= set(HISTORY.values())
    broken = {HEALTHY: "[" * 100_000, RECOVERED: "[1]", ODD: "{}" + " " * 200_000, BAD: "{", MILD: "1"}
    for person, text in broken.items():
        (root / "Extracted_data" / PEOPLE[person][0] / person / "metadata.json").write_text(text)
    unknown = build("coswara", root, tmp_path / "broken")
    assert unknown.table["status"].isna().all()
    assert unknown.cohort.present_share() == {"audio": 1}
    assert _events(unknown)["of unknown status"] == 4


def test_a_missing_table_or_column_and_unknown_recordings_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _error_of_build(root, tmp_path / "out", capsys, "--recordings", "[cough]")
    assert "got recording 'cough', expected some of breathing-deep" in message
    table = root / "combined_data.csv"
    table.write_text(TABLE.replace("covid_status", "status"))
    assert "combined_data.csv has no column 'covid_status'" in _error_of_build(root, tmp_path / "out", capsys)
    table.unlink()
    for file in root.rglob("metadata.json"):
        file.unlink()
    message = _error_of_build(root, tmp_path / "out", capsys)
    assert "neither combined_data.csv nor metadata.json is in the data root" in message
