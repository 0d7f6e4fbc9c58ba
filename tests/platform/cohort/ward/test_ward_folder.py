"""A folder of all formats becomes a MEDS dataset, studies, patients and a report of what was left out."""

import io
import json
import zipfile
from datetime import datetime
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pandas as pd
import pytest

from archives import write_dicom
from polyclinic.cohort import read_cohort
from polyclinic.cohort.meds import MedsDataset
from polyclinic.cohort.ward import WardResult, read_ward
from polyclinic.cohort.ward.ward import installed_readers
from polyclinic.modality import EventWindow, read_events
from polyclinic_dicom.sr_records import read_sr
from ward_files import bundle, coded, content, message, obr, observation, obx, patient, pid, write_json, write_sr

FINDING = coded("121071", "DCM", "Finding")


def ward(folder: Path, out: Path, zone: str | None = None) -> WardResult:
    return read_ward(folder, out=out, readers=[read_sr], zone=zone)


def events(out: Path) -> pd.DataFrame:
    frame: pd.DataFrame = MedsDataset(out / "meds").events().to_pandas()
    return frame


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A patient in all three formats, and another in one."""
    records = tmp_path / "records"
    write_json(records / "fhir" / "b.json", bundle(patient(), observation(issued="2024-01-02T13:00:00+01:00")))
    text = obx("Heart normal.", kind="TX", code="71046&IMP^Chest")
    first = message(pid(), obr("F1"), obx("5.1", code="2823-3^K^LN", unit="mmol/L"), sent="20240102110000")
    second = message(pid(), obr("F1"), obx("4.1", code="2823-3^K^LN", unit="mmol/L", status="C"), sent="20240102150000")
    other = message(pid("12"), obr("ACC7"), text)
    # the correction is read before the result that it corrects
    (records / "a.hl7").write_text(second)
    (records / "b.hl7").write_text(first + other)
    write_sr(records / "sr", content("TEXT", FINDING, value="No effusion."), AccessionNumber="ACC8")
    return records


def test_all_formats_of_a_patient_meet(folder: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    result = ward(folder, tmp_path / "cohort")
    table = events(tmp_path / "cohort").sort_values("code").reset_index(drop=True)
    assert table["code"].tolist() == ["LOINC//2823-3", "LOINC//718-7"]
    assert table["numeric_value"].tolist() == pytest.approx([4.1, 13.2])
    assert table["unit"].tolist() == ["mmol/L", "g/dL"]
    assert table["status"].tolist() == ["corrected", "final"]
    assert table["taken"].tolist() == [datetime(2024, 1, 2, 10), datetime(2024, 1, 2, 10)]
    assert table["time"].tolist() == [datetime(2024, 1, 2, 10), datetime(2024, 1, 2, 13)]
    assert table["offset_minutes"].tolist()[1] == 60
    patients = pd.read_csv(tmp_path / "cohort" / "patients.csv", dtype={"patient_id": str})
    assert patients["patient_id"].tolist() == ["12", "4711"]
    studies = pd.read_csv(tmp_path / "cohort" / "studies.csv", dtype=str)
    assert sorted(studies["text"]) == ["Finding: No effusion.", "IMPRESSION:\nHeart normal."]
    assert dict(zip(studies["accession"], studies["patient_id"], strict=True)) == {"ACC7": "12", "ACC8": "4711"}
    subjects = dict(zip(patients["patient_id"], patients["subject_id"], strict=True))
    assert set(table["subject_id"]) == {subjects["4711"]}
    assert result.cohort is not None
    assert {study.patient_id for study in read_cohort(result.cohort).studies} == {"12", "4711"}
    assert {name: entry["count"] for name, entry in result.report["left_out"].items()} == {"replaced": 1}
    assert result.report["corrected"] == 1
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_zone_brings_all_times_onto_one_clock(folder: Path, tmp_path: Path) -> None:
    utc = observation("u", effectiveDateTime="2024-07-01T10:00:00Z")
    write_json(folder / "utc.json", bundle(patient(), utc))
    plain = ward(folder, tmp_path / "plain")
    assert any("several zones" in each["assumption"] for each in plain.report["assumptions"])
    converted = ward(folder, tmp_path / "converted", zone="Europe/Zurich")
    assert not any("several zones" in each["assumption"] for each in converted.report["assumptions"])
    assert events(tmp_path / "plain")["time"].max() == datetime(2024, 7, 1, 10)
    assert events(tmp_path / "converted")["time"].max() == datetime(2024, 7, 1, 12)
    with pytest.raises(ValueError, match="Europe/Zurich"):
        ward(folder, tmp_path / "none", zone="../Zurich")


def test_what_is_left_out_has_its_file_and_no_value(folder: Path, tmp_path: Path) -> None:
    (folder / "note.txt").write_text("DOE JOHN was here")
    (folder / "empty.json").write_bytes(b"")
    (folder / "cut.json").write_text('{"resourceType": "Observation", "note": "DOE')
    (folder / "twice.hl7").write_text((folder / "b.hl7").read_text())
    (folder / "nobody.hl7").write_text(message(obr("F9"), obx("1")))
    (folder / "never.hl7").write_text(message(pid("12"), obr("F8", time="2024"), obx("1")))
    write_dicom(folder / "image.dcm", PatientName="DOE^JOHN")
    content_ = io.BytesIO()
    with zipfile.ZipFile(content_, "w") as archive:
        archive.writestr("../../out.txt", "x")
    (folder / "records.zip").write_bytes(content_.getvalue())
    result = ward(folder, tmp_path / "cohort")
    counts = {name: entry["count"] for name, entry in result.report["left_out"].items()}
    assert counts == {
        "archive-climbs-out": 1, "broken": 1, "duplicate": 1, "empty": 1, "not-a-record": 2, "replaced": 2,
        "without-patient": 1, "without-time": 1,
    }  # fmt: skip
    assert result.report["left_out"]["without-patient"]["listed"] == [{"path": "nobody.hl7", "count": 1}]
    stored = (tmp_path / "cohort" / "ward-report.json").read_text()
    assert json.loads(stored) == result.report
    assert "DOE" not in stored


def test_texts_that_tables_cannot_hold_are_left_out(tmp_path: Path) -> None:
    records = tmp_path / "records"
    halves = (
        observation("a", valueQuantity=None, valueString="\ud800"),
        observation("b", valueQuantity=None, valueString="\0"),
    )
    long = patient("long", "7" * 201)
    of_long = observation("d", "Patient/long")
    write_json(records / "a.json", bundle(patient(), long, *halves, observation("c"), of_long))
    (records / "b.hl7").write_text(message(pid(), obr(), obx("one\\X0D\\two", kind="TX")))
    result = ward(records, tmp_path / "cohort")
    counts = {name: entry["count"] for name, entry in result.report["left_out"].items()}
    assert counts == {"broken": 1, "charset": 1, "without-patient": 1}
    assert result.cohort is not None
    assert [study.sources["report"] for study in read_cohort(result.cohort).studies] == ["one\ntwo"]


def test_results_that_were_known_before_a_report_are_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records"
    early = observation("a", issued="2024-01-02T09:00:00Z", effectiveDateTime="2024-01-02T08:00:00Z")
    # taken before the report and issued after it: nobody knew it
    late = observation("b", issued="2024-01-02T11:00:00Z", effectiveDateTime="2024-01-02T08:00:00Z")
    write_json(records / "a.json", bundle(patient(), early, late))
    write_sr(records / "b", content("TEXT", FINDING, value="x"))
    names = EntryPoints([EntryPoint("timeline", "polyclinic_report:Report", "polyclinic.modalities")])
    monkeypatch.setattr("polyclinic.cohort.ward.write.entry_points", lambda group: names)
    result = ward(records, tmp_path / "cohort")
    assert result.cohort is not None
    [study] = read_cohort(result.cohort).studies
    window = study.sources["timeline"]
    assert isinstance(window, EventWindow)
    assert read_events(window)["time"].to_pylist() == [datetime(2024, 1, 2, 9)]


def test_results_that_were_known_before_no_report_are_no_modality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records"
    late = observation("b", issued="2024-01-02T11:00:00Z", effectiveDateTime="2024-01-02T08:00:00Z")
    write_json(records / "a.json", bundle(patient(), late))
    write_sr(records / "b", content("TEXT", FINDING, value="x"))
    names = EntryPoints([EntryPoint("timeline", "polyclinic_report:Report", "polyclinic.modalities")])
    monkeypatch.setattr("polyclinic.cohort.ward.write.entry_points", lambda group: names)
    result = ward(records, tmp_path / "cohort")
    assert result.cohort is not None
    assert set(read_cohort(result.cohort).studies[0].sources) == {"report"}
    assert (tmp_path / "cohort" / "meds" / "data").is_dir()


def test_a_coarse_time_of_a_report_is_its_start(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    times = ("20240102", "2024010210", "202401021015")
    texts = [message(pid(), obr(f"F{time}", time=time), obx("x", kind="TX")) for time in times]
    (records / "a.hl7").write_text("".join(texts))
    ward(records, tmp_path / "cohort")
    studies = pd.read_csv(tmp_path / "cohort" / "studies.csv", dtype=str)
    assert sorted(studies["time"]) == ["2024-01-02", "2024-01-02T10:00:00", "2024-01-02T10:15:00"]


def test_results_that_share_a_number_are_not_versions_of_each_other(tmp_path: Path) -> None:
    records = tmp_path / "records"
    accession = [{"system": "urn:orders", "value": "A1"}]
    other = {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]}
    unnamed = [observation(identifier=accession), observation(identifier=accession, code=other)]
    named = [observation("x", identifier=accession), observation("y", identifier=accession)]
    for each in unnamed:
        del each["id"]
    write_json(records / "a.json", bundle(patient(), *unnamed, *named))
    chest, abdomen = obr("F1"), obr("F1").replace("CBC^Blood count", "CTA^Abdomen")
    lines = obx("chest", kind="TX"), obx("abdomen", kind="TX")
    (records / "b.hl7").write_text(message(pid(), chest, lines[0], abdomen, lines[1]))
    result = ward(records, tmp_path / "cohort")
    assert (result.report["measurements"], result.report["reports"], result.report["left_out"]) == (4, 2, {})


def test_a_corrected_resource_replaces_the_one_with_its_id(tmp_path: Path) -> None:
    records = tmp_path / "records"
    quantity = {"value": 14.1, "unit": "g/dL"}
    later = observation(status="corrected", valueQuantity=quantity, meta={"lastUpdated": "2024-02-01T00:00:00Z"})
    first = observation(meta={"lastUpdated": "2024-01-03T00:00:00Z"})
    gone = observation("o2"), observation("o2", status="entered-in-error")
    write_json(records / "a.json", bundle(patient(), later))
    write_json(records / "b.json", bundle(patient(), first, *gone))
    result = ward(records, tmp_path / "cohort")
    assert events(tmp_path / "cohort")["numeric_value"].tolist() == pytest.approx([14.1])
    counts = {name: entry["count"] for name, entry in result.report["left_out"].items()}
    assert counts == {"replaced": 2, "withdrawn": 1}


def test_years_in_which_no_patient_lived_are_no_time(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    texts = [message(pid(), obr(time=f"{year}0102"), obx("x", kind="TX")) for year in ("0001", "1600", "9999", "2020")]
    (records / "a.hl7").write_text("".join(text.replace("|F1|", f"|F{n}|") for n, text in enumerate(texts)))
    result = ward(records, tmp_path / "cohort", zone="Europe/Zurich")
    assert (result.report["reports"], result.report["left_out"]["without-time"]["count"]) == (1, 3)


def test_numbers_of_several_authorities_are_not_guessed(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    texts = [message(pid("7", name), obr(name), obx("1")) for name in ("A", "B")]
    (records / "a.hl7").write_text("".join(texts) + message(pid("8"), obr("C"), obx("1")))
    result = ward(records, tmp_path / "cohort")
    assert result.report["left_out"]["ambiguous-patient"]["count"] == 2
    assert (result.report["measurements"], result.cohort) == (1, None)
    assert not (tmp_path / "cohort" / "cohort.yaml").exists()


def test_the_same_report_of_two_systems_is_one_study(tmp_path: Path) -> None:
    records = tmp_path / "records"
    write_sr(records / "a", content("TEXT", FINDING, value="x"), AccessionNumber="A1")
    (records / "b.hl7").write_text(message(pid(), obr("A1"), obx("Finding: x", kind="TX")))
    result = ward(records, tmp_path / "cohort")
    assert result.report["reports"] == 1
    assert result.report["left_out"]["duplicate"]["count"] == 1


def test_a_folder_without_records_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "DOE.txt").write_text("x")
    with pytest.raises(ValueError, match="1 not-a-record"):
        ward(tmp_path / "records", tmp_path / "cohort")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["records"]


@pytest.mark.parametrize("out", ["records/cohort", "records"])
def test_nothing_is_written_into_the_folder(folder: Path, out: str) -> None:
    with pytest.raises(ValueError, match="--out"):
        ward(folder, folder.parent / out)


def test_two_readings_are_equal(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ward(folder, tmp_path / name)
    for name in ("studies.csv", "patients.csv", "cohort.yaml", "ward-report.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert events(tmp_path / "a").equals(events(tmp_path / "b"))


def test_plugins_register_their_readers() -> None:
    assert read_sr in installed_readers()
