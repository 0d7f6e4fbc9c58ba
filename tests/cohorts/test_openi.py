"""OpenI as it lies on disk, in both forms, as a cohort."""

import hashlib
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from layouts.built import Result, build
from layouts.openi import write_content_views, write_metadata, write_openi_tables, write_openi_xml, write_projections
from polyclinic.cli import main
from polyclinic_cohorts.findings import FINDINGS
from polyclinic_cohorts.openi import TERMS
from polyclinic_report import Report
from polyclinic_xray import XRay

_BOMB = """<?xml version="1.0"?>
<!DOCTYPE eCitation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>
<eCitation><uId id="CXR90"/><AbstractText Label="FINDINGS">&c;</AbstractText></eCitation>
"""


_PACKAGE = find_spec("torchxrayvision")
PUBLISHED = None if _PACKAGE is None or _PACKAGE.origin is None else Path(_PACKAGE.origin).parent / "data"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_openi_xml(tmp_path / "openi")
    return tmp_path / "openi"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "openi", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def _known(result: Result) -> dict[str, dict[str, float]]:
    return {
        study.study_id: {name: value for name, value in zip(FINDINGS, study.labels, strict=True) if value == value}
        for study in result.cohort.studies
    }


def test_a_report_becomes_a_study_with_its_text_and_one_image(root: Path, tmp_path: Path) -> None:
    result = build("openi", root, tmp_path / "out")
    assert result.table["image"].to_dict() == {
        "CXR1": "CXR1_1_IM-0001-3001",
        "CXR2": "CXR2_IM-0652-1001",
        "CXR3": "CXR3_IM-1384-1001",
        "CXR4": "CXR4_IM-2050-1001",
        "CXR5": "CXR5_IM-2117-1003002",
    }
    studies = {study.study_id: study.sources for study in result.cohort.studies}
    assert XRay().read(studies["CXR2"]["xray"]).pixels.shape == (40, 32)
    assert Report(section="findings").read(studies["CXR2"]["report"]).text == (
        "Borderline heart, <2 cm nodule & effusion."
    )
    assert studies["CXR3"]["report"] == "IMPRESSION: Mass in the breast."
    assert "report" not in studies["CXR4"]
    assert result.table["impression"]["CXR1"] == "Normal chest x-XXXX."
    assert result.cohort.population == "openi"
    assert result.excluded() == {
        "repeats the number of another report": 0,
        "has no image": 1,
        "view is not one of PA, AP, Frontal, unknown": 0,
        "image is missing": 0,
        "another image of the study is preferred": 3,
    }


def test_headings_become_findings_with_borderline_uncertain_and_unindexed_unknown(root: Path, tmp_path: Path) -> None:
    known = _known(build("openi", root, tmp_path / "out"))
    absent = dict.fromkeys(FINDINGS, 0.0)
    assert known == {
        "CXR1": {**absent, "No Finding": 1},
        "CXR2": {**absent, "Cardiomegaly": -1, "Lung Lesion": 1},
        "CXR3": {**absent, "Cardiomegaly": 1, "Pleural Effusion": 1},
        "CXR4": {},
        "CXR5": {"Support Devices": 1},
    }
    assert set(TERMS) == set(FINDINGS)


def test_both_forms_give_the_same_labels_splits_and_texts(root: Path, tmp_path: Path) -> None:
    write_openi_tables(tmp_path / "kaggle")
    tables = build("openi", tmp_path / "kaggle", tmp_path / "out-tables", "--views", "[Frontal, Lateral]")
    write_projections(root)
    reports = build("openi", root, tmp_path / "out-xml", "--views", "[Frontal, Lateral]")
    assert _known(tables) == _known(reports)
    for column in ("split", "view", "patient_id"):
        assert tables.table[column].to_dict() == reports.table[column].to_dict()
    assert tables.table["report"].fillna("").to_dict() == reports.table["report"].fillna("").to_dict()
    assert tables.table["image"]["CXR1"] == "1_IM-0001-4001"
    assert reports.table["image"]["CXR1"] == "CXR1_1_IM-0001-4001"
    assert XRay().read(tables.cohort.studies[0].sources["xray"]).pixels.shape == (40, 32)


def test_reports_are_split_by_a_hash_of_their_number(root: Path, tmp_path: Path) -> None:
    def split_of(number: int, seed: int) -> str:
        share = int(hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()[:8], 16) / 2**32
        return "test" if share < 0.2 else "val" if share < 0.3 else "train"

    splits = set()
    for seed in (0, 3):
        table = build("openi", root, tmp_path / f"out-{seed}", "--seed", str(seed), "--unit", "image").table
        assert table["split"].tolist() == [split_of(number, seed) for number in table["patient_id"]]
        splits |= set(table["split"])
    assert splits == {"train", "val", "test"}


def test_an_image_that_the_projections_call_lateral_is_not_used_as_frontal(root: Path, tmp_path: Path) -> None:
    write_metadata(root)
    dicom = build("openi", root, tmp_path / "dicom", "--unit", "image").table["view"].to_dict()
    assert dicom == {
        "CXR1_1_IM-0001-4001": "PA",
        "CXR2_IM-0652-1001": "AP",
        "CXR2_IM-0652-2001": "PA",
        "CXR3_IM-1384-1001": "unknown",
        "CXR4_IM-2050-1001": "unknown",
        "CXR4_IM-2050-1002": "unknown",
        "CXR5_IM-2117-1003002": "unknown",
    }
    write_projections(root)
    with_projections = build("openi", root, tmp_path / "both").table["view"].to_dict()
    assert with_projections == {"CXR1": "PA", "CXR2": "AP", "CXR3": "Frontal", "CXR4": "Frontal"}


def test_views_derived_from_the_images_come_before_those_of_headers(root: Path, tmp_path: Path) -> None:
    write_metadata(root)
    write_content_views(root)
    views = build("openi", root, tmp_path / "out", "--unit", "image").table["view"].to_dict()
    assert "CXR2_IM-0652-2001" not in views  # PA in its header
    assert (views["CXR2_IM-0652-1001"], views["CXR3_IM-1384-1001"]) == ("AP", "Frontal")
    write_projections(root)
    projected = build("openi", root, tmp_path / "projected", "--unit", "image", "--views", "[PA, AP, Frontal, Lateral]")
    assert projected.table["view"]["CXR2_IM-0652-2001"] == "Lateral"


def test_reports_alone_become_studies(root: Path, tmp_path: Path) -> None:
    result = build("openi", root, tmp_path / "out", "--images", "none")
    assert result.cohort.modalities == ("report",)
    assert set(result.table.index) == {"CXR1", "CXR2", "CXR3", "CXR5", "CXR16"}  # CXR4 is blank, CXR16 has no image
    with_images = build("openi", root, tmp_path / "images")
    shared = [name for name in result.table.index if name in with_images.table.index]
    assert result.table["report"][shared].to_dict() == with_images.table["report"][shared].to_dict()
    assert _known(result).items() >= {name: _known(with_images)[name] for name in shared}.items()
    assert result.excluded()["has neither findings nor impression"] == 1


@pytest.mark.skipif(
    PUBLISHED is None, reason="torchxrayvision, whose wheel holds the published reports, is not installed"
)
def test_the_published_reports_become_studies(tmp_path: Path) -> None:
    assert PUBLISHED is not None
    root = tmp_path / "openi"
    with tarfile.open(PUBLISHED / "NLMCXR_reports.tgz") as archive:
        archive.extractall(root, filter="data")
    result = build("openi", root, tmp_path / "out", "--images", "none")
    assert result.report["flow"][0]["start"] == 3955
    assert result.excluded() == {
        "repeats the number of another report": 0, "has neither findings nor impression": 28
    }  # fmt: skip
    assert result.report["studies"] == {"train": 2716, "val": 415, "test": 796}
    positive = dict.fromkeys(FINDINGS, 0)
    for labels in _known(result).values():
        for name, value in labels.items():
            positive[name] += value == 1
    assert positive["No Finding"] == 1363
    assert min(positive.values()) > 0


def test_without_a_table_of_views_the_report_notes_that_laterals_may_be_used(root: Path, tmp_path: Path) -> None:
    result = build("openi", root, tmp_path / "out")
    assert any("laterals may be used" in note for note in result.report["notes"])
    assert {study.groups["view"] for study in result.cohort.studies} == {"unknown"}


def test_broken_and_repeated_reports_are_excluded_by_reason(root: Path, tmp_path: Path) -> None:
    folder = root / "ecgen-radiology"
    report = (folder / "1.xml").read_text()
    (folder / "90.xml").write_text(_BOMB)
    (folder / "91.xml").write_bytes(_BOMB.replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16"))
    (folder / "92.xml").write_text(report[:400])
    (folder / "93.xml").write_bytes(b"")
    (folder / "94.xml").write_text(report.replace('<uId id="CXR1"/>', '<uId id="unknown"/>'))
    (folder / "95.xml").write_text(report + " " * 1_000_001)
    (folder / "96.xml").write_text(report.replace("Normal chest", "Another chest"))
    (folder / "97.xml").write_bytes(report.replace("utf-8", "klingon").encode())
    result = build("openi", root, tmp_path / "out")
    excluded = result.excluded()
    assert excluded["declares a document type, which a report does not need"] == 2
    assert excluded["is not XML"] == 3
    assert excluded["has no uId"] == 1
    assert excluded["file is larger than 1 MB"] == 1
    assert excluded["repeats the number of another report"] == 1
    assert result.table["impression"]["CXR1"] == "Normal chest x-XXXX."
    assert len(result.table) == 5


def test_a_missing_image_is_replaced_by_another_image_of_its_report(root: Path, tmp_path: Path) -> None:
    (root / "NLMCXR_png" / "CXR1_1_IM-0001-3001.png").unlink()
    (root / "NLMCXR_png" / "CXR3_IM-1384-1001.png").unlink()
    result = build("openi", root, tmp_path / "out")
    assert result.table["image"]["CXR1"] == "CXR1_1_IM-0001-4001"
    assert result.excluded()["image is missing"] == 2


def test_the_setting_chooses_between_two_folders_of_images(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "NLMCXR_png").rename(root / "full")
    write_openi_xml(root / "again")
    (root / "again" / "ecgen-radiology").rename(root / "kept-elsewhere")
    assert "set `--images`" in _error_of_build(root, tmp_path / "out", capsys)
    table = build("openi", root, tmp_path / "out", "--images", "full").table
    assert table["xray"]["CXR3"] == "full/CXR3_IM-1384-1001.png"
    assert "`--images` is not a folder" in _error_of_build(root, tmp_path / "other", capsys, "--images", "nowhere")


def test_missing_images_reports_and_columns_are_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "NLMCXR_png").rename(tmp_path / "elsewhere")
    assert "images of the first reports are not in the data root" in _error_of_build(root, tmp_path / "out", capsys)
    (root / "ecgen-radiology").rename(tmp_path / "reports")
    assert "neither ecgen-radiology nor indiana_reports.csv" in _error_of_build(root, tmp_path / "out", capsys)
    write_openi_tables(root)
    table = root / "indiana_reports.csv"
    table.write_text(table.read_text().replace("MeSH", "mesh"))
    assert "indiana_reports.csv has no column 'MeSH'" in _error_of_build(root, tmp_path / "out", capsys)


def test_a_folder_without_reports_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (root / "ecgen-radiology").glob("*.xml"):
        file.unlink()
    assert "no report with an image is in the data root" in _error_of_build(root, tmp_path / "out", capsys)
