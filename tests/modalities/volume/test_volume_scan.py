"""Files of CT and MR in a folder: one source for each series, and no slice becomes a radiograph."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ct_series import write_series
from polyclinic.cohort import read_cohort
from polyclinic.cohort.check import check_cohort
from polyclinic.cohort.scan import scan_folder
from polyclinic.modality import Modality, UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_volume import Volume
from polyclinic_xray import XRay


def study(number: int, *, series: str = "2.25.2", localizer: bool = False):
    def change(index: int, dataset: Dataset) -> None:
        dataset.PatientID, dataset.PatientName = f"P{number}", f"DOE^{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"2.25.1{number}", f"{series}{number}"
        dataset.SOPInstanceUID, dataset.AccessionNumber = f"{series}{number}{index}", f"A-{number}"
        if localizer:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    return change


def test_slices_are_no_radiographs_and_radiographs_no_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    path = next(folder.iterdir())
    assert Volume().recognise(path).patient == "P77001122"
    with pytest.raises(UnreadableSource, match="of another modality than CR, DR, DX or RG"):
        XRay().recognise(path)
    patient = Patient(np.random.default_rng(0)).visit(np.random.default_rng(0))
    radiograph = XRay().phantom(patient, np.random.default_rng(0), tmp_path / "x")
    with pytest.raises(UnreadableSource, match="of another modality than CT and MR"):
        Volume().recognise(radiograph)

    def capture(index: int, dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"

    captured = write_series(tmp_path / "c", change=capture)
    with pytest.raises(UnreadableSource, match="without a slice of a scan"):
        Volume().recognise(next(captured.iterdir()))


def test_a_scan_proposes_one_source_for_each_series(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    for number in range(4):
        write_series(root / f"CT {number}", change=study(number), name="IM{index:04d}")
        write_series(root / f"CT {number}", change=study(number, series="2.25.7", localizer=True), name="LOC{index}")
    write_series(root / "flat", change=study(8), name="a{index:03d}.dcm")
    write_series(root / "flat", change=study(9), name="b{index:03d}.dcm")
    plugins: dict[str, Modality] = {"volume": Volume(), "xray": XRay()}
    result = scan_folder(root, out=tmp_path / "cohort", modalities=plugins, workers=1)
    cohort = read_cohort(result.path)
    assert list(cohort.modalities) == ["volume"]
    assert len(cohort.studies) == 6
    for each in cohort.studies:
        source = each.sources["volume"]
        assert isinstance(source, Path)
        assert not source.name.startswith("LOC")
        assert Volume().read(source).values.shape == (10, 8, 9)
    assert result.report["companions"] == 6 * 8 + 4 * 8


def test_nifti_is_a_source(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    root.mkdir()
    for seed in range(3):
        patient = Patient(np.random.default_rng(seed)).visit(np.random.default_rng(seed))
        path = Volume().phantom(patient, np.random.default_rng(seed), tmp_path / f"sub{seed}")
        compressed = path.read_bytes()
        packed = seed > 0
        (root / f"sub{seed}.nii{'.gz' * packed}").write_bytes(compressed if packed else gzip.decompress(compressed))
    plugins: dict[str, Modality] = {"volume": Volume(), "xray": XRay()}
    result = scan_folder(root, out=tmp_path / "cohort", modalities=plugins, workers=1)
    assert result.report["sources"] == {"volume": 3}


def test_the_json_file_beside_nifti_is_a_part_of_it(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    root.mkdir()
    patient = Patient(np.random.default_rng(0)).visit(np.random.default_rng(0))
    path = Volume().phantom(patient, np.random.default_rng(0), root / "S1")
    write_series(root / "series", slices=4)
    result = scan_folder(root, out=tmp_path / "cohort", modalities={"volume": Volume()}, workers=1)
    sources = [study.sources["volume"] for study in result.cohort.studies]
    assert {source.name for source in sources if isinstance(source, Path)} == {path.name, "slice 001.dcm"}
    assert (root / "S1.json").is_file()
    assert (result.report["companions"], result.report["left_out"]) == (3 + 1, {})


def test_a_cohort_may_name_folders(tmp_path: Path) -> None:
    for number in range(3):
        write_series(tmp_path / "all" / f"scan {number}", change=study(number))
    write_series(tmp_path / "all" / "scan 2", change=study(7), name="more{index}")
    rows = [f"S{number},P{number},train,all/scan {number}" for number in range(3)]
    (tmp_path / "cohort.csv").write_text("\n".join(["study,patient,split,ct", *rows]) + "\n")
    (tmp_path / "cohort.yaml").write_text(
        "table: cohort.csv\nstudy_id: study\npatient_id: patient\nsplit: split\nmodalities: {volume: {path: ct}}\n"
    )
    cohort = read_cohort(tmp_path / "cohort.yaml")
    assert [each.sources["volume"] for each in cohort.studies] == [
        tmp_path / "all" / f"scan {number}" for number in range(3)
    ]
    checked = check_cohort(cohort, {"volume": Volume()}, workers=0)["volume"]
    assert (checked.present, checked.readable) == (3, 2)
    with pytest.raises(UnreadableSource, match="2 series in the folder"):
        Volume().read(cohort.studies[2].sources["volume"])
    (tmp_path / "cohort.csv").write_text("study,patient,split,ct\nS0,P0,train,all/gone\n")
    with pytest.raises(ValueError, match="the volume source of 1 studies does not exist"):
        read_cohort(tmp_path / "cohort.yaml")
