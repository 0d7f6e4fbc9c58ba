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


def _fails(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "chexpert", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def test_train_and_valid_are_official_and_a_study_is_its_pa_image(root: Path, tmp_path: Path) -> None:
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
def test_the_root_may_be_the_folder_or_its_parent_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    write_chexpert(tmp_path / "data" / name)
    within, above = (
        build("chexpert", root, tmp_path / f"out-{number}")
        for number, root in enumerate((tmp_path / "data" / name, tmp_path / "data"))
    )
    assert (f"{name}/" + within.table["xray"]).tolist() == above.table["xray"].tolist()
    assert {XRay().read(study.sources["xray"]).pixels.shape for study in above.cohort.studies} == {(40, 32)}


def test_findings_are_taken_by_name(root: Path, tmp_path: Path) -> None:
    write_test_set(root)
    result = build("chexpert", root, tmp_path / "out")
    assert result.cohort.labels == FINDINGS
    labels = {study.study_id: dict(zip(FINDINGS, study.labels, strict=True)) for study in result.cohort.studies}
    known = {study: {name: one for name, one in values.items() if one == one} for study, values in labels.items()}
    assert known["patient00001_study1"] == {"No Finding": 1, "Pneumothorax": 0, "Support Devices": 1}
    assert known["patient00002_study1"] == {
        "Atelectasis": -1, "Cardiomegaly": -1, "Consolidation": -1, "Edema": -1, "Fracture": 1, "Lung Opacity": 1,
        "Pleural Effusion": -1,
    }  # fmt: skip
    present = {study: {name for name, one in values.items() if one == 1} for study, values in labels.items()}
    assert present["patient64541_study1"] == {"Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity"}
    assert present["patient64741_study1"] == {"Support Devices", "Pleural Effusion"}
    assert len(known["patient64741_study1"]) == 14


def test_the_published_test_set_tests_where_it_is(root: Path, tmp_path: Path) -> None:
    write_test_set(root)
    result = build("chexpert", root, tmp_path / "out")
    assert result.report["studies"] == {"train": 3, "val": 2, "test": 2}
    assert result.table["xray"]["patient64741_study1"] == "test/patient64741/study1/view1_frontal.jpg"
    counted = {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"]}
    assert counted["frontal without AP or PA"] == 3


def test_the_validation_set_tests_when_asked_and_training_patients_select_by_their_hash(tmp_path: Path) -> None:
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


def test_groups_are_bands_and_unknown_is_blank(root: Path, tmp_path: Path) -> None:
    studies = build("chexpert", root, tmp_path / "out", "--views", "[PA, AP, LL, frontal]").cohort.studies
    groups = {study.study_id: study.groups for study in studies}
    assert groups["patient00002_study1"] == {"sex": "Male", "age_band": "90 and over", "view": "PA"}
    assert groups["patient00002_study2"] == {"sex": "Male", "age_band": "under 18", "view": "LL"}
    assert groups["patient00003_study1"] == {"sex": "", "age_band": "", "view": "PA"}
    assert groups["patient64542_study1"] == {"sex": "Male", "age_band": "18 to 39", "view": "frontal"}


def test_a_row_is_an_image_when_asked_and_laterals_can_be_had(root: Path, tmp_path: Path) -> None:
    table = build("chexpert", root, tmp_path / "out", "--unit", "image", "--views", "[lateral, AP]").table
    assert table["view"].to_dict() == {
        "patient00001_study1_view1_frontal": "AP",
        "patient00002_study1_view1_frontal": "AP",
        "patient00002_study1_view3_lateral": "lateral",
        "patient64541_study1_view1_frontal": "AP",
        "patient64542_study1_view2_lateral": "lateral",
    }


def test_a_missing_image_is_left_out_and_another_of_its_study_taken(root: Path, tmp_path: Path) -> None:
    (root / "train/patient00002/study1/view2_frontal.jpg").unlink()
    (root / "valid/patient64541/study1/view1_frontal.jpg").unlink()
    result = build("chexpert", root, tmp_path / "out")
    assert result.table["xray"]["patient00002_study1"] == "train/patient00002/study1/view1_frontal.jpg"
    assert result.excluded()["image is missing"] == 2


def test_a_path_without_a_patient_is_left_out(tmp_path: Path) -> None:
    odd = Image("train/unknown/study1/view1_frontal.jpg", "Male", "50", "Frontal", "AP", "," * 13)
    write_chexpert(tmp_path / "CheXpert-v1.0", train=(*TRAIN, odd))
    assert build("chexpert", tmp_path, tmp_path.parent / "out").excluded()["path names no patient"] == 1


def test_a_patient_in_train_and_valid_stops_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = Image("train/patient64541/study2/view1_frontal.jpg", "Male", "50", "Frontal", "AP", "," * 13)
    write_chexpert(tmp_path / "CheXpert-v1.0", train=(*TRAIN, shared))
    assert "1 patients are in more than one split" in _fails(tmp_path, tmp_path.parent / "shared", capsys)


def test_a_missing_column_or_table_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "train.csv"
    table.write_text(table.read_text().replace("AP/PA", "Projection"))
    assert "train.csv has no column 'AP/PA'" in _fails(root, tmp_path / "out", capsys)
    table.unlink()
    assert "train.csv is not in the data root" in _fails(root, tmp_path / "out", capsys)
    (root / "valid.csv").unlink()
    assert "got 0 folders with valid.csv" in _fails(root, tmp_path / "out", capsys)


def test_small_and_full_together_are_not_chosen_from(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_chexpert(root.parent / "CheXpert-v1.0")
    message = _fails(root.parent, tmp_path / "out", capsys)
    assert "got 2 folders with valid.csv" in message
    assert "(CheXpert-v1.0, CheXpert-v1.0-small)" in message


def test_a_copy_within_the_root_is_not_looked_at(root: Path, tmp_path: Path) -> None:
    write_chexpert(root / "backup" / "CheXpert-v1.0-small", train=TRAIN[:1])
    assert build("chexpert", root, tmp_path / "out").report["flow"][0]["start"] == 9
