"""A DICOMDIR is compared with the files beside it; it leads nowhere else, and nothing depends on it."""

import shutil
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pydicom
import pytest
from pydicom.fileset import FileSet

from archives import write_dicom
from polyclinic.cohort import default_modalities
from polyclinic.cohort.scan import ScanResult, scan_folder
from polyclinic.modality import UnreadableSource
from polyclinic_dicom.directory import read_directory
from polyclinic_xray import XRay

PLUGINS = default_modalities()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[object, ...]]]:
    """A medium of pydicom with two patients, four studies and five files, and what pydicom lists on it."""
    folder = tmp_path_factory.mktemp("made")
    with closing(_Temporary()) as temporary, mock.patch("pydicom.fileset.TemporaryDirectory", temporary):
        return folder / "disc", _write_medium(folder)


class _Temporary:
    """Temporary folders of pydicom, which it leaves to the garbage collector, with a warning at any time."""

    def __init__(self) -> None:
        self._folders: list[TemporaryDirectory[str]] = []

    def __call__(self, *words: Any, **settings: Any) -> TemporaryDirectory[str]:
        self._folders.append(TemporaryDirectory(*words, **settings))
        return self._folders[-1]

    def close(self) -> None:
        for folder in self._folders:
            folder.cleanup()


def _write_medium(folder: Path) -> list[tuple[object, ...]]:
    files = FileSet()
    for number in range(5):
        patient, study = number // 3, number // 2
        stated = {"StudyInstanceUID": f"2.25.{study + 1}{patient}", "SeriesInstanceUID": f"2.25.9{number}"}
        path = write_dicom(
            folder / str(number), PatientID=f"P{patient}", InstanceNumber=number, StudyDate="20200101",
            StudyTime="10", StudyID=str(study), SeriesNumber=number, **stated,
        )  # fmt: skip
        files.add(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files.write(folder / "disc")
    read = FileSet(folder / "disc/DICOMDIR")
    listed = [(tuple(each.ReferencedFileID), each.PatientID, each.StudyInstanceUID) for each in read]
    return sorted(listed)


@pytest.fixture
def medium(tmp_path: Path, written: tuple[Path, object]) -> Path:
    return shutil.copytree(written[0], tmp_path / "archive/disc")


@pytest.fixture
def run(tmp_path: Path) -> Callable[[], ScanResult]:
    return lambda: scan_folder(tmp_path / "archive", out=tmp_path / "out", modalities=PLUGINS, workers=1)


def rewritten(medium: Path, change: Callable[[Any], object]) -> None:
    """Change the dataset of a DICOMDIR, and the lengths of nothing before its records."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(medium / "DICOMDIR")
        change(dataset)
        dataset.save_as(medium / "DICOMDIR")


def assumed(result: ScanResult, words: str) -> int:
    return sum(entry["count"] for entry in result.report["assumptions"] if words in entry["assumption"])


def test_the_index_lists_what_pydicom_lists(medium: Path, written: tuple[Path, list[tuple[object, ...]]]) -> None:
    found = [(entry.parts, entry.patient, entry.study) for entry in read_directory(medium / "DICOMDIR")]
    assert sorted(found) == written[1]
    assert len(found) == 5


def test_an_index_that_agrees_is_only_counted(medium: Path, run: Callable[[], ScanResult]) -> None:
    result = run()
    assert result.report["indexes"] == [
        {"path": "disc/DICOMDIR", "files": 5, "missing": [], "other_patients": [], "outside": 0}
    ]
    assert {study.patient_id for study in result.cohort.studies} == {"P0", "P1"}
    assert assumed(result, "DICOMDIR") == 0


def test_names_in_small_letters_are_found(medium: Path, run: Callable[[], ScanResult]) -> None:
    for path in sorted(medium.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    assert run().report["indexes"][0]["missing"] == []


def test_missing_files_and_other_patients_are_reported(medium: Path, run: Callable[[], ScanResult]) -> None:
    paths = sorted(path for path in medium.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    lost, other = paths[0], paths[-1]
    lost.unlink()
    dataset = pydicom.dcmread(other)
    dataset.PatientID = "somebody"
    dataset.save_as(other)
    result = run()
    [report] = result.report["indexes"]
    folder = medium.parent
    assert report["missing"] == [lost.relative_to(folder).as_posix()]
    assert report["other_patients"] == [other.relative_to(folder).as_posix()]
    assert assumed(result, "lists and that are missing") == 1
    assert assumed(result, "another patient than their DICOMDIR") == 1
    assert "somebody" in {study.patient_id for study in result.cohort.studies}, "the header is used"


def test_records_never_lead_out_of_the_folder(
    medium: Path, run: Callable[[], ScanResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dicom(medium.parent / "outside.dcm", PatientID="Q", StudyInstanceUID="2.25.77")
    names: list[Any] = [["..", "outside.dcm"], "/etc/passwd", "DICOMDIR", ["..\\..", "X"], ["a/../..", "X"]]

    def point_elsewhere(dataset: Any) -> None:
        records = [each for each in dataset.DirectoryRecordSequence if "ReferencedFileID" in each]
        for record, name in zip(records, names, strict=True):
            record.ReferencedFileID = name

    opened: list[str] = []
    real = Path.open

    def noted(path: Path, *words: Any, **settings: Any) -> Any:
        opened.append(str(path.resolve()))
        return real(path, *words, **settings)

    rewritten(medium, point_elsewhere)
    for _ in range(2):  # the offsets have a fixed length
        rewritten(medium, _chain)
    assert len(read_directory(medium / "DICOMDIR")) == 5
    monkeypatch.setattr(Path, "open", noted)
    [report] = run().report["indexes"]
    assert (report["outside"], report["missing"], report["files"]) == (4, [], 5)
    assert not [path for path in opened if path.startswith("/etc")]


def _chain(dataset: Any) -> None:
    """Chain all records one after another, whatever their level."""
    offsets = [record.seq_item_tell for record in dataset.DirectoryRecordSequence]
    dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = offsets[0]
    for record, following in zip(dataset.DirectoryRecordSequence, [*offsets[1:], 0], strict=True):
        record.OffsetOfTheNextDirectoryRecord = following
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 0


def _circle(medium: Path) -> None:
    def point_back(dataset: Any) -> None:
        first = dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
        for record in dataset.DirectoryRecordSequence:
            record.OffsetOfTheNextDirectoryRecord = first
            record.OffsetOfReferencedLowerLevelDirectoryEntity = first

    rewritten(medium, point_back)


def test_records_in_a_circle_end(medium: Path) -> None:
    _circle(medium)
    assert len(read_directory(medium / "DICOMDIR")) <= 5


@pytest.mark.parametrize("size", [0, 100, 132, 200, 400, 1000])
def test_a_cut_index_is_reported_and_the_files_are_used(medium: Path, run: Callable[[], ScanResult], size: int) -> None:
    content = (medium / "DICOMDIR").read_bytes()
    (medium / "DICOMDIR").write_bytes(content[:size])
    result = run()
    assert len(result.cohort.studies) == 4
    if size:
        [report] = result.report["indexes"]
        assert set(report) in ({"path", "why"}, {"path", "files", "missing", "other_patients", "outside"})
        if size < 400:
            assert assumed(result, "DICOMDIR that cannot be read") == 1


@pytest.mark.parametrize("content", [b"text", b"\0" * 128 + b"DICM", b"\x08\0" * 500, b"PK\3\4"])
def test_another_file_of_that_name_is_not_an_index(medium: Path, run: Callable[[], ScanResult], content: bytes) -> None:
    (medium / "DICOMDIR").write_bytes(content)
    with pytest.raises(UnreadableSource) as caught:
        XRay().read_index(medium / "DICOMDIR")
    assert "disc" not in str(caught.value)
    assert set(run().report["indexes"][0]) == {"path", "why"}


def test_an_image_named_dicomdir_is_not_an_index(medium: Path) -> None:
    shutil.copy(next(path for path in medium.rglob("*") if path.is_file() and path.name != "DICOMDIR"), medium / "x")
    with pytest.raises(UnreadableSource, match="not a DICOMDIR"):
        read_directory(medium / "x")


def test_an_index_that_is_too_large_is_refused(medium: Path) -> None:
    with (medium / "DICOMDIR").open("r+b") as stream:
        stream.truncate(2**26 + 1)
    with pytest.raises(UnreadableSource, match="larger than"):
        read_directory(medium / "DICOMDIR")
