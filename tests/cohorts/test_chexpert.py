"""CheXpert as it lies on disk, as a cohort."""

import hashlib
from pathlib import Path

import pytest

from layouts.built import build
from layouts.chexpert import TRAIN, Image, write_chexpert, write_test_set
from polyclinic.cli import main
from polyclinic_cohorts.findings import FINDINGS
from polyclinic_xray import XRay


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_chexpert(tmp_path / "data" / "CheXpert-v1.0-small")
    return tmp_path / "data" / "CheXpert-v1.0-small"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "chexpert", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def test_train_and_valid_are_the_official_ones_and_a_study_uses_its_pa_image(root: Path, tmp_path: Path) -> None:
    result = build("chexpert", root, tmp_path / "out")
    assert result.table["split"].to_dict() == {
        "patient00001_study1": "train",
        "patient00002_study1": "train",
        "patient00003_study1": "train",
        "patient64541_study1": "val",
        "patient64542_study1": "val",
    }
    assert result.table["xray"]["patient00002_study1"] == "train/patient00002/study1/view2_frontal.jpg"
    assert result.table["patient_id"]["patient64541_study1"] == "patient64541"
    assert result.cohort.population == "chexpert"
    assert result.excluded() == {
        "path names no patient": 0,
        "view is not one of PA, AP, frontal": 3,
        "image is missing": 0,
        "another image of the study is preferred": 1,
    }


@pytest.mark.parametrize("name", ["CheXpert-v1.0-small", "CheXpert-v1.0", "renamed"])
def test_the_root_may_be_the_folder_or_its_parent_under_any_name(tmp_path: Path, name: str) -> None:
    write_chexpert(tmp_path / "data" / name)
    within, above = (
        build("chexpert", root, tmp_path / f"out-{number}")
        for number, root in enumerate((tmp_path / "data" / name, tmp_path / "data"))
    )
    assert (f"{name}/" + within.table["xray"]).tolist() == above.table["xray"].tolist()
    assert {XRay().read(study.sources["xray"]).pixels.shape for study in above.cohort.studies} == {(40, 32)}


def test_findings_are_read_by_column_name(root: Path, tmp_path: Path) -> None:
    write_test_set(root)
    result = build("chexpert", root, tmp_path / "out")
    assert result.cohort.labels == FINDINGS
    labels = {study.study_id: dict(zip(FINDINGS, study.labels, strict=True)) for study in result.cohort.studies}
    known_labels = {
        study: {name: value for name, value in values.items() if value == value} for study, values in labels.items()
    }
    assert known_labels["patient00001_study1"] == {"No Finding": 1, "Pneumothorax": 0, "Support Devices": 1}
    assert known_labels["patient00002_study1"] == {
        "Atelectasis": -1, "Cardiomegaly": -1, "Consolidation": -1, "Edema": -1, "Fracture": 1, "Lung Opacity": 1,
        "Pleural Effusion": -1,
    }  # fmt: skip
    present = {study: {name for name, value in values.items() if value == 1} for study, values in labels.items()}
    assert present["patient64541_study1"] == {"Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity"}
    assert present["patient64741_study1"] == {"Support Devices", "Pleural Effusion"}
    assert len(known_labels["patient64741_study1"]) == 14


def test_the_published_test_set_is_the_test_split_when_present(root: Path, tmp_path: Path) -> None:
    write_test_set(root)
    result = build("chexpert", root, tmp_path / "out")
    assert result.report["studies"] == {"train": 3, "val": 2, "test": 2}
    assert result.table["xray"]["patient64741_study1"] == "test/patient64741/study1/view1_frontal.jpg"
    counted = {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"]}
    assert counted["frontal without AP or PA"] == 3


def test_the_validation_set_can_be_the_test_split_with_validation_drawn_from_training_patients(tmp_path: Path) -> None:
    train = tuple(
        Image(f"train/patient{number:05d}/study{study}/view1_frontal.jpg", "Male", "50", "Frontal", "AP", "," * 13)
        for number in range(40)
        for study in (1, 2)
    )
    write_chexpert(tmp_path / "CheXpert-v1.0", train=train)
    write_test_set(tmp_path / "CheXpert-v1.0")
    result = build("chexpert", tmp_path / "CheXpert-v1.0", tmp_path / "out", "--valid", "test", "--seed", "3")
    places = {
        f"patient{number:05d}": int(hashlib.sha256(f"3:patient{number:05d}".encode()).hexdigest()[:8], 16) / 2**32
        for number in range(40)
    }
    selecting = {patient for patient, place in places.items() if place < 0.1}
    assert set(result.table["patient_id"][result.table["split"] == "val"]) == selecting
    assert 0 < len(selecting) < 40
    assert set(result.table["patient_id"][result.table["split"] == "test"]) == {"patient64541", "patient64542"}
    assert "groundtruth.csv" not in result.report["tables"]


def test_ages_are_grouped_in_bands_and_unknown_groups_are_blank(root: Path, tmp_path: Path) -> None:
    studies = build("chexpert", root, tmp_path / "out", "--views", "[PA, AP, LL, frontal]").cohort.studies
    groups = {study.study_id: study.groups for study in studies}
    assert groups["patient00002_study1"] == {"sex": "Male", "age_band": "90 and over", "view": "PA"}
    assert groups["patient00002_study2"] == {"sex": "Male", "age_band": "under 18", "view": "LL"}
    assert groups["patient00003_study1"] == {"sex": "", "age_band": "", "view": "PA"}
    assert groups["patient64542_study1"] == {"sex": "Male", "age_band": "18 to 39", "view": "frontal"}


def test_a_row_is_an_image_when_set_and_laterals_can_be_included(root: Path, tmp_path: Path) -> None:
    table = build("chexpert", root, tmp_path / "out", "--unit", "image", "--views", "[lateral, AP]").table
    assert table["view"].to_dict() == {
        "patient00001_study1_view1_frontal": "AP",
        "patient00002_study1_view1_frontal": "AP",
        "patient00002_study1_view3_lateral": "lateral",
        "patient64541_study1_view1_frontal": "AP",
        "patient64542_study1_view2_lateral": "lateral",
    }


def test_a_missing_image_is_replaced_by_another_image_of_the_study(root: Path, tmp_path: Path) -> None:
    (root / "train/patient00002/study1/view2_frontal.jpg").unlink()
    (root / "valid/patient64541/study1/view1_frontal.jpg").unlink()
    result = build("chexpert", root, tmp_path / "out")
    assert result.table["xray"]["patient00002_study1"] == "train/patient00002/study1/view1_frontal.jpg"
    assert result.excluded()["image is missing"] == 2


def test_a_path_without_a_patient_is_excluded(tmp_path: Path) -> None:
    odd = Image("train/unknown/study1/view1_frontal.jpg", "Male", "50", "Frontal", "AP", "," * 13)
    write_chexpert(tmp_path / "CheXpert-v1.0", train=(*TRAIN, odd))
    assert build("chexpert", tmp_path, tmp_path.parent / "out").excluded()["path names no patient"] == 1


def test_a_patient_in_train_and_valid_stops_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = Image("train/patient64541/study2/view1_frontal.jpg", "Male", "50", "Frontal", "AP", "," * 13)
    write_chexpert(tmp_path / "CheXpert-v1.0", train=(*TRAIN, shared))
    assert "1 patients are in more than one split" in _error_of_build(tmp_path, tmp_path.parent / "shared", capsys)


def test_a_missing_column_or_table_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "train.csv"
    table.write_text(table.read_text().replace("AP/PA", "Projection"))
    assert "train.csv has no column 'AP/PA'" in _error_of_build(root, tmp_path / "out", capsys)
    table.unlink()
    assert "train.csv is not in the data root" in _error_of_build(root, tmp_path / "out", capsys)
    (root / "valid.csv").unlink()
    assert "got 0 folders with valid.csv" in _error_of_build(root, tmp_path / "out", capsys)


def test_small_and_full_versions_side_by_side_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_chexpert(root.parent / "CheXpert-v1.0")
    message = _error_of_build(root.parent, tmp_path / "out", capsys)
    assert "got 2 folders with valid.csv" in message
    assert "(CheXpert-v1.0, CheXpert-v1.0-small)" in message


def test_a_copy_within_the_root_is_ignored(root: Path, tmp_path: Path) -> None:
    write_chexpert(root / "backup" / "CheXpert-v1.0-small", train=TRAIN[:1])
    assert build("chexpert", root, tmp_path / "out").report["flow"][0]["start"] == 9
