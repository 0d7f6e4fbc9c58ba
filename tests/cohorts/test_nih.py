"""NIH ChestX-ray14 as it lies on disk, as a cohort."""

import csv
import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from layouts.built import Result, build
from layouts.nih import HEADER, IMAGES, Image, write_image, write_nih
from polyclinic.cli import main
from polyclinic_cohorts.nih import FINDINGS
from polyclinic_xray import XRay

_PACKAGE = find_spec("torchxrayvision")
PUBLISHED = None if _PACKAGE is None or _PACKAGE.origin is None else Path(_PACKAGE.origin).parent / "data"
TABLE = "Data_Entry_2017_v2020.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_nih(tmp_path / "nih")
    return tmp_path / "nih"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "nih", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def _present(result: Result) -> dict[str, set[str]]:
    return {
        study.study_id: {name for name, value in zip(result.cohort.labels, study.labels, strict=True) if value == 1}
        for study in result.cohort.studies
    }


def _events(result: Result) -> dict[str, int]:
    return {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"] if event["rows"]}


def test_an_image_has_the_findings_of_its_list_and_no_others(root: Path, tmp_path: Path) -> None:
    result = build("nih", root, tmp_path / "out")
    assert result.cohort.labels == (*FINDINGS, "No Finding")
    assert _present(result) == {
        "00000001_000.png": {"Cardiomegaly"},
        "00000001_001.png": {"Cardiomegaly", "Emphysema"},
        "00000002_000.png": {"No Finding"},
        "00000003_000.png": {"Hernia"},
        "00000004_000.png": {"Mass", "Nodule", "Pleural_Thickening"},
        "00000005_000.png": {"No Finding"},
    }
    assert result.table[list(result.cohort.labels)].notna().all(axis=None)
    assert result.cohort.population == "nih-chest"


def test_patients_of_the_test_list_test_and_others_are_divided_by_a_hash(tmp_path: Path) -> None:
    images = tuple(
        Image(f"{patient:08d}_{number:03d}.png", "No Finding", number, str(patient), "50", "F", "PA", side)
        for patient in range(1, 41)
        for number in range(2)
        for side in ("test" if patient % 4 == 0 else "train",)
    )
    write_nih(tmp_path / "nih", images=images)
    result = build("nih", tmp_path / "nih", tmp_path / "out", "--val", "0.3", "--seed", "2")
    expected = {}
    for image in images:
        place = int(hashlib.sha256(f"2:{image.patient}".encode()).hexdigest()[:8], 16) / 2**32
        expected[image.name] = "test" if image.side == "test" else "val" if place < 0.3 else "train"
    assert result.table["split"].to_dict() == expected
    assert set(expected.values()) == {"train", "val", "test"}


def test_groups_are_sex_age_and_view_and_an_impossible_age_is_blank(root: Path, tmp_path: Path) -> None:
    result = build("nih", root, tmp_path / "out")
    groups = {study.study_id: study.groups for study in result.cohort.studies}
    assert groups["00000003_000.png"] == {"sex": "F", "age_band": "65 to 79", "view": "AP"}
    assert groups["00000004_000.png"] == {"sex": "F", "age_band": "", "view": "AP"}
    assert _events(result) == {"age is not plausible": 1}


def test_images_in_the_folders_of_the_archives_are_found(tmp_path: Path) -> None:
    write_nih(tmp_path / "nih", spread=True)
    result = build("nih", tmp_path / "nih", tmp_path / "out")
    assert result.table["xray"]["00000002_000.png"] == "images_003/images/00000002_000.png"
    assert {XRay().read(study.sources["xray"]).pixels.shape for study in result.cohort.studies} == {(40, 32)}


def test_links_to_folders_are_followed_but_not_in_a_circle(root: Path, tmp_path: Path) -> None:
    expected = build("nih", root, tmp_path / "expected").table
    (root / "images").rename(tmp_path / "another disk")
    (root / "images").symlink_to(tmp_path / "another disk")
    (tmp_path / "another disk" / "circle").symlink_to(root)
    assert build("nih", root, tmp_path / "out").table.equals(expected)


def test_two_copies_of_the_images_are_refused_unless_one_is_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(root / "images-224" / IMAGES[0].name)
    assert "1 file names occur in several folders" in _error_of_build(root, tmp_path / "out", capsys)
    for name in ("absent", "..", "/tmp"):
        message = _error_of_build(root, tmp_path / "out", capsys, "--images", name)
        assert "`--images` is not a folder below the data root" in message
    result = build("nih", root, tmp_path / "out", "--images", "images-224")
    assert result.table["xray"].tolist() == [f"images-224/{IMAGES[0].name}"]


def test_a_partial_download_and_odd_rows_are_counted(tmp_path: Path) -> None:
    odd = (
        Image("00000006_000.png", "No Finding|Mass", 0, "6", "50", "F", "PA", "train"),
        Image("00000007_000.png", "Scoliosis", 0, "7", "50", "F", "PA", "train"),
        Image("00000008_000.png", "", 0, "8", "058Y", "O", "PA", "train"),
        Image("00000009_000.png", "No Finding", 0, "9", "008M", "F", "PA", ""),
        Image("00000010_000.png", "No Finding", 0, "10", "018M", "F", "PA", "train"),
        Image("00000010_000.png", "Mass", 0, "10", "018M", "F", "PA", "train"),
        Image("00000011_000.png", "Mass", 0, "", "50", "F", "PA", "train"),
        Image("00000012_000.png", "Mass", 0, "12", "50", "F", "PA", "train"),
        Image("00000013_000.png", "Mass", 0, "13", "018M", "F", "PA", "train"),
    )
    root = tmp_path / "nih"
    write_nih(root, images=(*IMAGES, *odd))
    (root / "images" / "00000001_000.png").unlink()
    with (root / "test_list.txt").open("a") as stream:
        stream.write("\r\n00000012_000.png\r\n")
    result = build("nih", root, tmp_path / "out")
    assert _events(result) == {
        "no image or patient": 1,
        "image occurs more than once": 2,
        "in both lists of the published split": 1,
        "neither in train_val_list.txt nor in test_list.txt": 1,
        "image is missing": 1,
        "a finding is not one of the fourteen": 1,
        "without findings, all labels unknown": 1,
        "No Finding beside a finding, all labels unknown": 1,
        "age is not plausible": 1,
        "sex is neither F nor M": 1,
    }
    assert result.table.loc["00000006_000.png", list(FINDINGS)].isna().all()
    assert result.table["age"][["00000008_000.png", "00000013_000.png"]].tolist() == [58, 1]


def test_tables_of_other_releases_are_read(root: Path, tmp_path: Path) -> None:
    expected = build("nih", root, tmp_path / "expected").table
    lines = (root / TABLE).read_text().splitlines()
    (root / TABLE).unlink()
    # The first release ends every line with a comma; a later one renames a column.
    older = "\r\n".join(f"{line}," for line in lines)
    (root / "Data_Entry_2017.csv").write_bytes(b"\xef\xbb\xbf" + older.encode())
    assert build("nih", root, tmp_path / "older").table.equals(expected)
    (root / TABLE).write_text("\n".join(lines).replace("Patient Gender", "Patient Sex"))
    assert build("nih", root, tmp_path / "newer").table.equals(expected)


def test_a_missing_table_list_or_column_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (root / TABLE).read_text()
    (root / TABLE).write_text(text.replace("Finding Labels", "Labels"))
    assert f"{TABLE} has no column 'Finding Labels'" in _error_of_build(root, tmp_path / "out", capsys)
    (root / TABLE).write_text(text)
    (root / "test_list.txt").unlink()
    assert "got 0 folders with test_list.txt" in _error_of_build(root, tmp_path / "out", capsys)
    (root / TABLE).unlink()
    message = _error_of_build(root, tmp_path / "out", capsys)
    assert f"neither {TABLE} nor Data_Entry_2017.csv is in the data root" in message
    assert "got val 1.0" in _error_of_build(root, tmp_path / "out", capsys, "--val", "1.0")


@pytest.mark.skipif(PUBLISHED is None, reason="torchxrayvision is not installed")
def test_rows_of_the_published_table_are_understood(tmp_path: Path) -> None:
    assert PUBLISHED is not None
    with gzip.open(PUBLISHED / f"{TABLE}.gz", "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == HEADER.split(",")
    chosen = rows[::500]
    root = tmp_path / "nih"
    root.mkdir()
    (root / f"{TABLE}.gz").write_bytes((PUBLISHED / f"{TABLE}.gz").read_bytes())
    (root / "train_val_list.txt").write_text("\n".join(row["Image Index"] for row in rows))
    (root / "test_list.txt").write_text("none.png")
    for row in chosen:
        write_image(root / "images" / row["Image Index"])
    result = build("nih", root, tmp_path / "out")
    assert _events(result) == {"image is missing": len(rows) - len(chosen)}
    assert _present(result) == {row["Image Index"]: set(row["Finding Labels"].split("|")) for row in chosen}
    assert {name: int(age) for name, age in result.table["age"].items()} == {
        row["Image Index"]: int(row["Patient Age"]) for row in chosen
    }
