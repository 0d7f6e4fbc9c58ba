"""MIMIC-CXR-JPG as it lies on disk, as a cohort."""

import gzip
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from layouts.built import build
from layouts.mimic_cxr import (
    IMAGES,
    Image,
    write_mimic_cxr,
    write_patients,
    write_radiologists,
    write_report_files,
    write_sections,
)
from polyclinic.cli import main
from polyclinic.cohort.build import DataRoot
from polyclinic_cohorts.findings import FINDINGS
from polyclinic_cohorts.mimic_cxr import create_images
from polyclinic_report import Report
from polyclinic_xray import XRay


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mimic_cxr(tmp_path / "physionet" / "mimic-cxr-jpg")
    return tmp_path / "physionet"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "mimic-cxr", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def test_a_study_uses_its_pa_image_else_its_ap_image_and_never_a_lateral(root: Path, tmp_path: Path) -> None:
    result = build("mimic-cxr", root, tmp_path / "out")
    assert result.table["image"].str[:8].to_dict() == {
        50414267: "02aa804e", 53189527: "e084de3b", 54345678: "99b66f3c", 57375967: "096052b7",
    }  # fmt: skip
    assert result.table["view"].tolist() == ["PA", "PA", "AP", "AP"]
    assert result.table["split"].tolist() == ["train", "train", "test", "val"]
    assert result.table["patient_id"].tolist() == [10000032, 10000032, 11000416, 10000764]
    assert result.cohort.population == "mimic-iv"
    assert result.excluded() == {
        "no split": 0,
        "view is not one of PA, AP": 3,
        "image is missing": 0,
        "another image of the study is preferred": 2,
    }


def test_the_order_of_views_sets_the_preference(root: Path, tmp_path: Path) -> None:
    result = build("mimic-cxr", root, tmp_path / "out", "--views", "[LATERAL, AP, PA]")
    assert result.table["view"].to_dict() == {50414267: "LATERAL", 53189527: "AP", 54345678: "AP", 57375967: "AP"}


def test_a_row_is_an_image_when_the_unit_is_image(root: Path, tmp_path: Path) -> None:
    table = build("mimic-cxr", root, tmp_path / "out", "--unit", "image").table
    assert table.index.str[:8].tolist() == ["02aa804e", "096052b7", "2a2277a9", "99b66f3c", "a1b66f3c", "e084de3b"]
    assert table["study"].nunique() == 4


def test_findings_come_from_the_labeller_and_blank_ones_stay_unknown(root: Path, tmp_path: Path) -> None:
    result = build("mimic-cxr", root, tmp_path / "out")
    assert result.cohort.labels == FINDINGS
    labels = {study.study_id: dict(zip(FINDINGS, study.labels, strict=True)) for study in result.cohort.studies}
    known_labels = {
        study: {name: value for name, value in values.items() if value == value} for study, values in labels.items()
    }
    assert known_labels == {
        "50414267": {"No Finding": 1},
        "53189527": {"Atelectasis": 1, "Edema": -1, "Pneumothorax": 0, "Support Devices": 1},
        "54345678": {"Lung Opacity": 1, "Pneumonia": -1},
        "57375967": {},
    }
    counted = {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"]}
    assert counted["without any finding, present, absent or uncertain"] == 1


def test_times_of_day_are_padded_and_blank_ones_are_unknown(root: Path, tmp_path: Path) -> None:
    times = build("mimic-cxr", root, tmp_path / "out", "--unit", "image").table["taken"]
    assert times[IMAGES[0].dicom] == datetime(2180, 5, 6, 21, 30, 14)
    assert times[IMAGES[3].dicom] == datetime(2180, 6, 26, 0, 0, 5)
    assert times.index[times.isna()].tolist() == [IMAGES[4].dicom]


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("21800506", "235959.999", datetime(2180, 5, 6, 23, 59, 59)),
        ("21800506", "0", datetime(2180, 5, 6)),
        ("21800506", "240000", None),
        ("21801301", "1200", None),
        ("", "120000", None),
    ],
)
def test_impossible_times_are_unknown(tmp_path: Path, date: str, time: str, expected: datetime | None) -> None:
    write_mimic_cxr(tmp_path / "root", [Image(10000032, 50414267, "a", "PA", date, time, "train")])
    with duckdb.connect() as connection:
        create_images(DataRoot(tmp_path / "root", connection=connection, work=tmp_path / "work", workers=1))
        assert connection.execute("SELECT taken FROM images").fetchall() == [(expected,)]


def test_images_are_read_from_the_paths_of_the_cohort(root: Path, tmp_path: Path) -> None:
    studies = build("mimic-cxr", root, tmp_path / "out").cohort.studies
    assert {XRay().read(study.sources["xray"]).pixels.shape for study in studies} == {(40, 32)}
    assert {tuple(study.sources) for study in studies} == {("xray",)}


def test_sex_and_age_at_the_time_of_the_image_come_from_mimic_iv(root: Path, tmp_path: Path) -> None:
    write_patients(root / "mimiciv" / "3.1")
    write_mimic_cxr(
        tmp_path / "older" / "cxr",
        [
            Image(11000416, 1, "before", "AP", "21751231", "0", "train"),
            Image(11000416, 2, "after", "AP", "21760101", "0", "train"),
            Image(10000764, 3, "young", "AP", "21350101", "", "train"),
            Image(10000764, 4, "older", "AP", "21360101", "", "train"),
        ],
    )
    write_patients(tmp_path / "older")
    table = build("mimic-cxr", tmp_path / "older", tmp_path / "older-out").table
    # 91 stands for any age above 89, so that the age in the year before is unknown.
    assert table["age_band"].fillna("").to_dict() == {
        1: "", 2: "90 and over", 3: "80 to 89", 4: "90 and over",
    }  # fmt: skip
    groups = {study.study_id: study.groups for study in build("mimic-cxr", root, tmp_path / "out").cohort.studies}
    assert groups["50414267"] == {"sex": "F", "age_band": "40 to 64", "view": "PA", "orientation": "Erect"}
    assert groups["57375967"] == {"sex": "M", "age_band": "80 to 89", "view": "AP", "orientation": ""}


def test_without_mimic_iv_sex_and_age_are_blank_and_the_report_names_the_missing_table(
    root: Path, tmp_path: Path
) -> None:
    result = build("mimic-cxr", root, tmp_path / "out")
    assert {study.groups["sex"] for study in result.cohort.studies} == {""}
    assert any("hosp/patients.csv.gz" in note for note in result.report["notes"])


def test_only_the_test_split_has_labels_of_radiologists(root: Path, tmp_path: Path) -> None:
    write_radiologists(root / "mimic-cxr-jpg")
    result = build("mimic-cxr", root, tmp_path / "out", "--radiologist_test", "true")
    labels = result.table[list(FINDINGS)].apply(lambda row: row.dropna().to_dict(), axis=1)
    assert labels[54345678] == {"Edema": 1, "Fracture": -1, "Lung Opacity": 0}
    assert labels[50414267] == {"No Finding": 1}
    assert result.excluded()["test study that no radiologist labelled"] == 0


def test_test_studies_without_a_radiologist_are_excluded_and_counted(tmp_path: Path) -> None:
    write_mimic_cxr(
        tmp_path / "root",
        [*IMAGES, Image(11000416, 7, "c", "PA", "21750101", "0", "test")],
        {54345678: {"Edema": "0.0"}},
    )
    write_radiologists(tmp_path / "root")
    result = build("mimic-cxr", tmp_path / "root", tmp_path / "out", "--radiologist_test", "true")
    assert result.excluded()["test study that no radiologist labelled"] == 1
    assert result.table.index[result.table["split"] == "test"].tolist() == [54345678]


def test_labels_of_radiologists_are_refused_for_version_2_0_0(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _error_of_build(root, tmp_path / "out", capsys, "--radiologist_test", "true")
    assert "mimic-cxr-2.1.0-test-set-labeled.csv is not in the data root" in message


def test_a_report_has_the_sections_with_headings_or_the_last_paragraph(root: Path, tmp_path: Path) -> None:
    write_sections(root)
    studies = {study.study_id: study.sources for study in build("mimic-cxr", root, tmp_path / "out").cohort.studies}
    assert Report(section="impression").read(studies["50414267"]["report"]).text == "No acute process."
    findings = Report(section="findings").read(studies["50414267"]["report"]).text
    assert findings == 'The heart is "normal", and\nthe lungs are clear.'
    assert studies["53189527"]["report"] == "Interval removal of the ___ line."
    assert {study for study, sources in studies.items() if "report" not in sources} == {"54345678", "57375967"}


def test_text_files_are_found_wherever_their_tree_is(root: Path, tmp_path: Path) -> None:
    write_report_files(root / "mimic-cxr" / "2.0.0")
    result = build("mimic-cxr", root, tmp_path / "out")
    studies = {study.study_id: study.sources for study in result.cohort.studies}
    assert {study for study, sources in studies.items() if "report" in sources} == {"50414267", "54345678"}
    assert Report(section="impression").read(studies["50414267"]["report"]).text == "Study of ___."
    counted = {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"]}
    assert counted["without a report"] == 2


def test_text_files_may_be_beside_the_images_or_in_a_named_folder(root: Path, tmp_path: Path) -> None:
    write_report_files(root / "mimic-cxr-jpg")
    assert "report" in build("mimic-cxr", root, tmp_path / "out").table.dropna(subset="report").columns
    write_report_files(root / "copy")
    table = build("mimic-cxr", root, tmp_path / "other", "--reports", "copy").table
    assert table["report"].dropna().str.startswith("copy/files/").tolist() == [True, True]


def test_two_trees_of_reports_are_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report_files(root / "one")
    write_report_files(root / "two")
    assert "got 2 folders with reports" in _error_of_build(root, tmp_path / "out", capsys)
    for elsewhere in ("../physionet/one", "/", "mimic-cxr-jpg/files"):
        message = _error_of_build(root, tmp_path / "out", capsys, "--reports", elsewhere)
        assert "`--reports` is not a folder below the data root that holds files; set it" in message


def test_a_missing_image_is_replaced_by_another_image_of_its_study(root: Path, tmp_path: Path) -> None:
    next(root.rglob("e084de3b*.jpg")).unlink()
    next(root.rglob("096052b7*.jpg")).unlink()
    result = build("mimic-cxr", root, tmp_path / "out")
    assert result.table["image"].str[:8].to_dict()[53189527] == "2a2277a9"
    assert 57375967 not in result.table.index
    assert result.excluded()["image is missing"] == 2


def test_an_image_without_a_split_is_excluded(root: Path, tmp_path: Path) -> None:
    table = root / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-split.csv.gz"
    lines = gzip.decompress(table.read_bytes()).decode().splitlines()
    table.unlink()
    remaining = [line for line in lines if not line.startswith("096052b7")]
    table.with_suffix("").write_text("\n".join(remaining) + "\n")
    assert build("mimic-cxr", root, tmp_path / "out").excluded()["no split"] == 1


def test_a_missing_column_or_table_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-chexpert.csv.gz"
    text = gzip.decompress(table.read_bytes()).decode()
    table.write_bytes(gzip.compress(text.replace("Lung Opacity", "Airspace Opacity").encode()))
    message = _error_of_build(root, tmp_path / "out", capsys)
    assert "mimic-cxr-2.0.0-chexpert.csv.gz has no column 'Lung Opacity'" in message
    table.unlink()
    assert "mimic-cxr-2.0.0-chexpert.csv.gz is not in the data root" in _error_of_build(root, tmp_path / "out", capsys)
    build("mimic-cxr", root, tmp_path / "out", "--labeller", "negbio")


def test_an_empty_list_of_views_and_a_view_without_images_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "set `--views`" in _error_of_build(root, tmp_path / "out", capsys, "--views", "[]")
    assert "no study remains" in _error_of_build(root, tmp_path / "out", capsys, "--views", "[O'CLOCK]")
