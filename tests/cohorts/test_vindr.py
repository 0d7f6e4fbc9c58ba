"""VinDr-CXR as it lies on disk, as a cohort."""

import csv
import gzip
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from layouts.built import Result, build
from layouts.vindr import COLUMNS, PEOPLE, READINGS, Reading, image_id, write_image, write_table, write_vindr
from layouts.vindr import row as table_row
from polyclinic.cli import main
from polyclinic_cohorts.vindr import FINDINGS
from polyclinic_xray import XRay

_PACKAGE = find_spec("torchxrayvision")
KAGGLE = None if _PACKAGE is None or _PACKAGE.origin is None else Path(_PACKAGE.origin).parent / "data"
NUMBERS = {image_id(number): number for number in range(1000)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_vindr(tmp_path / "vindr")
    return tmp_path / "vindr"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "vindr", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def _with(result: Result, value: float) -> dict[int, set[str]]:
    return {
        NUMBERS[study.study_id]: {
            name for name, label in zip(result.cohort.labels, study.labels, strict=True) if label == value
        }
        for study in result.cohort.studies
    }


def _events(result: Result) -> dict[str, int]:
    return {event["reason"]: event["rows"] for arm in result.report["flow"] for event in arm["events"] if event["rows"]}


def test_the_label_of_a_training_image_is_that_of_two_radiologists_of_three(root: Path, tmp_path: Path) -> None:
    result = build("vindr", root, tmp_path / "out")
    assert result.cohort.labels == FINDINGS
    assert _with(result, 1) == {
        1: {"No finding"}, 2: {"Cardiomegaly"}, 3: {"Pneumonia", "Lung Opacity"}, 101: {"Other diseases", "Lung tumor"},
        102: {"No finding"},
    }  # fmt: skip
    assert not any(_with(result, -1).values())
    assert result.table[list(FINDINGS)].notna().all(axis=None)
    assert result.cohort.population == "vindr-cxr"


def test_disagreement_may_count_as_present_or_as_uncertain(root: Path, tmp_path: Path) -> None:
    anyone = build("vindr", root, tmp_path / "any", "--agreement", "any")
    assert _with(anyone, 1)[1] == {"No finding", "Cardiomegaly", "Aortic enlargement"}
    assert _with(anyone, 1)[101] == {"Other diseases", "Lung tumor"}
    agreed = build("vindr", root, tmp_path / "unanimous", "--agreement", "unanimous")
    assert _with(agreed, 1) == {
        1: set(), 2: {"Cardiomegaly"}, 3: set(), 101: {"Other diseases", "Lung tumor"}, 102: {"No finding"}
    }  # fmt: skip
    assert _with(agreed, -1)[2] == {"Nodule/Mass", "Other diseases"}
    assert _with(agreed, -1)[3] == {"Pneumonia", "Lung Opacity", "Tuberculosis"}


def test_sex_and_age_come_from_the_headers(root: Path, tmp_path: Path) -> None:
    result = build("vindr", root, tmp_path / "out")
    filled = result.table[["sex", "age"]].astype({"sex": object}).fillna({"sex": "", "age": -1})
    people = {NUMBERS[name]: tuple(row) for name, row in zip(filled.index, filled.to_numpy().tolist(), strict=True)}
    assert people == {1: ("F", 58), 2: ("M", 0), 3: ("", -1), 101: ("", -1), 102: ("M", -1)}
    groups = {NUMBERS[study.study_id]: study.groups for study in result.cohort.studies}
    assert groups[1] == {"sex": "F", "age_band": "40 to 64"}
    assert _events(result) == {"of unknown sex": 2, "of unknown or implausible age": 3}


def test_images_are_read_and_the_published_test_images_test(root: Path, tmp_path: Path) -> None:
    result = build("vindr", root, tmp_path / "out")
    assert {NUMBERS[name] for name, split in result.table["split"].items() if split == "test"} == {101, 102}
    assert {XRay().read(study.sources["xray"]).pixels.shape for study in result.cohort.studies} == {(40, 32)}
    assert result.table["xray"][image_id(101)] == f"test/{image_id(101)}.dicom"


def test_training_images_are_divided_by_a_hash(tmp_path: Path) -> None:
    readings = tuple(Reading(image_id(number), "R1", ()) for number in range(200, 240))
    write_vindr(tmp_path / "vindr", readings=readings)
    for number in range(200, 240):
        write_image(tmp_path / "vindr" / "train" / f"{image_id(number)}.dicom", sex="F", age="058Y")
    result = build("vindr", tmp_path / "vindr", tmp_path / "out", "--val", "0.3")
    counts = result.table["split"].value_counts()
    assert counts["test"] == 2
    assert counts["val"] + counts["train"] == 40
    assert 5 < counts["val"] < 20
    assert _events(result)["training images without exactly 3 radiologists"] == 40


def test_converted_images_have_neither_sex_nor_age(root: Path, tmp_path: Path) -> None:
    for file in root.rglob("*.dicom"):
        Picture.fromarray(np.zeros((40, 32), np.uint8)).save(file.with_suffix(".png"))
        file.unlink()
    result = build("vindr", root, tmp_path / "out")
    assert {study.groups == {} for study in result.cohort.studies} == {True}
    assert len(result.table) == len(PEOPLE)


def test_odd_rows_and_missing_images_are_counted(root: Path, tmp_path: Path) -> None:
    (root / "train" / f"{image_id(1)}.dicom").unlink()
    (root / "train" / f"{image_id(2)}.dicom").write_bytes(b"not DICOM")
    deflated = root / "train" / f"{image_id(3)}.dicom"
    deflated.write_bytes(deflated.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"))
    write_image(root / "train" / f"{image_id(4)}.dicom", sex="F", age="058Y")
    lines = [table_row(reading.image, reading.findings, radiologist=reading.radiologist) for reading in READINGS]
    lines += [
        table_row(image_id(4), ("Edema",), radiologist="R1"),
        table_row(image_id(4), ("Edema",), radiologist="R2").replace("1", "2", 0)[:-1] + "x",
        table_row(image_id(4), ("Edema",), radiologist="R3"),
        table_row(image_id(4), (), radiologist="R3"),
        table_row(image_id(102), ("No finding",), radiologist="R3"),
        table_row("", ("No finding",), radiologist="R3"),
    ]
    write_table(root, "train", ["image_id", "rad_id", *COLUMNS], lines)
    result = build("vindr", root, tmp_path / "out")
    assert _events(result) == {
        "with a cell that is neither 0 nor 1, which is unknown": 1,
        "no image or radiologist": 1,
        "radiologist labelled the image more than once": 2,
        "in training and test set": 2,
        "image is missing": 1,
        "file has no DICOM header": 2,
        "training images without exactly 3 radiologists": 1,
        "of unknown sex": 1,
        "of unknown or implausible age": 1,
    }
    assert result.table["Edema"][image_id(4)] == 1


def test_two_copies_of_the_images_are_refused_unless_one_is_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = root / "png" / f"{image_id(1)}.png"
    copy.parent.mkdir()
    Picture.fromarray(np.zeros((40, 32), np.uint8)).save(copy)
    assert "1 file names occur in several folders" in _error_of_build(root, tmp_path / "out", capsys)
    result = build("vindr", root, tmp_path / "out", "--images", "png")
    assert result.table["xray"].tolist() == [f"png/{image_id(1)}.png"]


def test_a_missing_table_or_column_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = (root / "annotations" / f"image_labels_{name}.csv" for name in ("train", "test"))
    text = train.read_text()
    train.write_text(text.replace("ILD", "Fibrosis"))
    assert "has no column 'ILD'" in _error_of_build(root, tmp_path / "out", capsys)
    train.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    test.unlink()
    assert "image_labels_test.csv is not in the data root" in _error_of_build(root, tmp_path / "out", capsys)
    train.unlink()
    assert "got 0 folders with annotations/image_labels_train.csv" in _error_of_build(root, tmp_path / "out", capsys)


@pytest.mark.skipif(KAGGLE is None, reason="torchxrayvision is not installed")
def test_the_majority_of_real_radiologists_is_that_of_a_count(tmp_path: Path) -> None:
    """The table on Kaggle has the boxes of the same radiologists, under fewer names of findings."""
    assert KAGGLE is not None
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    with gzip.open(KAGGLE / "vinbigdata-train.csv.gz", "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            name = "No finding" if row["class_name"] == "No finding" else row["class_name"]
            seen[row["image_id"]][row["rad_id"]].add(name)
    chosen = {image: seen[image] for image in sorted(seen)[::300]}
    readings = tuple(
        Reading(image, radiologist, tuple(findings))
        for image, by_radiologist in chosen.items()
        for radiologist, findings in by_radiologist.items()
    )
    write_vindr(tmp_path / "vindr", readings=readings)
    for image in chosen:
        write_image(tmp_path / "vindr" / "train" / f"{image}.dicom", sex="F", age="058Y")
    result = build("vindr", tmp_path / "vindr", tmp_path / "out")
    labels = {
        study.study_id: {name for name, value in zip(FINDINGS, study.labels, strict=True) if value == 1}
        for study in result.cohort.studies
    }
    for image, by_radiologist in chosen.items():
        votes = defaultdict(int)
        for findings in by_radiologist.values():
            for name in findings:
                votes[name] += 1
        assert len(by_radiologist) == 3
        assert labels[image] == {name for name, count in votes.items() if count >= 2 and name in FINDINGS}
