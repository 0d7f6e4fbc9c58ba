"""PadChest as it lies on disk, as a cohort."""

import ast
import csv
import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

from layouts.built import Result, build
from layouts.padchest import HEADER, IMAGES, TABLE, write_image, write_padchest
from polyclinic.cli import main
from polyclinic_cohorts.padchest_terms import BROKEN, TERMS
from polyclinic_xray import XRay

_PACKAGE = find_spec("torchxrayvision")
PUBLISHED = None if _PACKAGE is None or _PACKAGE.origin is None else Path(_PACKAGE.origin).parent / "data"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_padchest(tmp_path / "padchest")
    return tmp_path / "padchest"


def _error_of_build(root: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["cohort", "build", "padchest", "--root", str(root), "--out", str(out), *options]) == 1
    assert not out.exists()
    return capsys.readouterr().err


def _with(result: Result, value: float) -> dict[str, set[str]]:
    return {
        study.study_id: {name for name, label in zip(TERMS, study.labels, strict=True) if label == value}
        for study in result.cohort.studies
    }


def _events(result: Result) -> dict[str, int]:
    return {event["reason"]: event["rows"] for event in result.report["flow"][0]["events"] if event["rows"]}


def test_terms_become_findings_and_unsure_reports_leave_the_others_unknown(root: Path, tmp_path: Path) -> None:
    result = build("padchest", root, tmp_path / "out")
    assert _with(result, 1) == {
        "101": {"Normal"}, "202": {"Fibrosis", "Kyphosis", "Infiltration"}, "303": {"Effusion", "Support Devices"},
        "404": set(), "505": {"Effusion"},
    }  # fmt: skip
    absent = _with(result, 0)
    assert absent["101"] == set(TERMS) - {"Normal"}
    assert absent["202"] == set(TERMS) - {"Fibrosis", "Kyphosis", "Infiltration"}
    assert absent["303"] == absent["404"] == set()
    assert result.cohort.population == "padchest"


def test_a_study_is_its_preferred_view_with_the_report_in_spanish(root: Path, tmp_path: Path) -> None:
    result = build("padchest", root, tmp_path / "out")
    assert result.table["image"].to_dict() == {
        "101": "101_k6ga29.png", "202": "202_d.png", "303": "303_a.png", "404": "404_a.png", "505": "505_a.png",
    }  # fmt: skip
    sources = {study.study_id: study.sources for study in result.cohort.studies}
    assert sources["202"]["report"] == "sutil infiltr pseudonodul , cifosis sever ."
    assert [study for study, source in sources.items() if "report" not in source] == ["303", "404"]
    assert {XRay().read(source["xray"]).pixels.shape for source in sources.values()} == {(40, 32)}
    assert _events(result) == {
        "view is not one of PA, AP, AP_horizontal": 2,
        "without terms, all findings unknown": 1,
        "with terms that leave other findings unknown": 1,
        "without a report": 2,
        "of unknown sex": 2,
        "of unknown age": 1,
        "of an implausible age": 1,
    }


def test_patients_stay_in_one_split_and_groups_are_sex_age_view_and_method(root: Path, tmp_path: Path) -> None:
    result = build("padchest", root, tmp_path / "out")
    assert result.table["patient_id"][["202", "404"]].tolist() == ["3135", "3135"]
    assert result.table["split"]["202"] == result.table["split"]["404"]
    groups = {study.study_id: study.groups for study in result.cohort.studies}
    assert groups["202"] == {"sex": "M", "age_band": "80 to 89", "view": "PA", "labelled_by": "RNN_model"}
    assert groups["303"] == {"sex": "", "age_band": "", "view": "AP_horizontal", "labelled_by": "RNN_model"}


def test_images_views_and_physicians_are_chosen(root: Path, tmp_path: Path) -> None:
    every = build("padchest", root, tmp_path / "images", "--unit", "image", "--views", "[L, PA, COSTAL]").table
    assert every["study"].to_dict() == {
        "101_k6ga29.png": "101", "202_b.png": "202", "202_d.png": "202", "505_a.png": "505", "606_a.png": "606",
    }  # fmt: skip
    manual = build("padchest", root, tmp_path / "manual", "--physicians", "true")
    assert sorted(manual.table.index) == ["101", "404", "505"]
    assert manual.excluded()["terms are not of a physician"] == 3


def test_images_in_one_folder_are_found_and_copies_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_padchest(tmp_path / "flat" / "padchest", flat="images-224")
    assert build("padchest", tmp_path / "flat", tmp_path / "out").table["xray"]["505"] == (
        "padchest/images-224/505_a.png"
    )
    write_image(root / "images-224" / "505_a.png")
    assert "1 file names occur in several folders" in _error_of_build(root, tmp_path / "other", capsys)
    assert build("padchest", root, tmp_path / "third", "--images", "images-224").table.index.tolist() == ["505"]


def test_broken_repeated_and_absent_images_are_excluded(tmp_path: Path) -> None:
    first = IMAGES[0]
    odd = (
        first._replace(image=BROKEN[0], study="701"),
        first._replace(image="702.png", study="702"),
        first._replace(image="702.png", study="702"),
        first._replace(image="703.png", study="101", patient="other"),
        first._replace(image="704.png", study="704", patient=""),
        first._replace(image="705.png", study="705", labels="['normal', 'unheard of']"),
        first._replace(image="706.png", study="706"),
    )
    root = tmp_path / "padchest"
    write_padchest(root, images=(*IMAGES, *odd))
    (root / "0" / "202_d.png").unlink()
    cut = root / "0" / "706.png"
    cut.write_bytes(cut.read_bytes()[:-12])
    (root / "3" / "505_a.png").write_bytes(b"")
    result = build("padchest", root, tmp_path / "out")
    assert {reason: rows for reason, rows in result.excluded().items() if rows} == {
        "no image, study or patient": 1,
        "image occurs more than once": 2,
        "image is known to be broken": 1,
        "study of several patients": 2,
        "image is not a complete PNG file": 2,
        "view is not one of PA, AP, AP_horizontal": 2,
        "image is missing": 1,
    }
    assert sorted(result.table.index) == ["303", "404", "705"]


def test_an_older_table_with_windows_line_ends_is_read_and_a_missing_one_stops_the_build(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = build("padchest", root, tmp_path / "expected").table
    content = (root / TABLE).read_bytes()
    (root / TABLE).unlink()
    older = root / "PADCHEST_chest_x_ray_images_labels_160K.csv"
    older.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert build("padchest", root, tmp_path / "older").table.equals(expected)
    older.write_bytes(content.replace(b"Projection", b"Position"))
    assert "has no column 'Projection'" in _error_of_build(root, tmp_path / "out", capsys)
    older.unlink()
    assert f"neither {TABLE} nor" in _error_of_build(root, tmp_path / "out", capsys)


@dataclass
class Row:
    cells: dict[str, str]

    def terms(self) -> set[str]:
        labels = self.cells["Labels"]
        return set() if labels == "nan" else {term.strip().lower() for term in ast.literal_eval(labels)} - {""}


@pytest.mark.skipif(PUBLISHED is None, reason="torchxrayvision is not installed")
def test_rows_of_the_published_table_are_understood(tmp_path: Path) -> None:
    assert PUBLISHED is not None
    with gzip.open(PUBLISHED / f"{TABLE}.gz", "rt", newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        assert tuple(next(reader)) == HEADER
        cells = list(islice(reader, 0, 40_000, 10))  # all 160,861 take a quarter of a minute
    rows = [Row(dict(zip(HEADER, row, strict=True))) for row in cells[::20]]
    root = tmp_path / "padchest"
    root.mkdir()
    with gzip.open(root / f"{TABLE}.gz", "wt", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([HEADER, *cells])
    for row in rows:
        write_image(root / row.cells["ImageDir"] / row.cells["ImageID"])
    views = "[PA, L, AP_horizontal, AP, COSTAL, UNK, EXCLUDE]"
    result = build("padchest", root, tmp_path / "out", "--unit", "image", "--views", views)
    assert result.report["flow"][0]["start"] == len(cells) == 4_000
    assert len(result.table) == len(rows)
    assert _with(result, 1) == {
        row.cells["ImageID"]: {name for name, accepted in TERMS.items() if row.terms() & set(accepted)} for row in rows
    }
