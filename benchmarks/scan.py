"""Files per second of `polyclinic cohort scan`, and its agreement with the phantom's table on the phantom's files."""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from benchmarks.measure import Figure
from polyclinic.cohort import Cohort, Study, default_modalities, read_cohort, write_phantom_cohort
from polyclinic.cohort.scan import scan_folder

COMMAND = "python -m benchmarks scan"
FILES, STUDIES, WORKERS = 10_000, 200, 2
_PIXELS = 64


def measure(files: int = FILES, studies: int = STUDIES) -> list[Figure]:
    """Scan small DICOM files, with two workers if they pay, and a phantom cohort thrown into one folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_headers(folder / "headers", files)
        modalities = default_modalities()
        start = perf_counter()
        result = scan_folder(folder / "headers", out=folder / "scanned", modalities=modalities, workers=WORKERS)
        seconds = perf_counter() - start
        assert len(result.cohort.studies) == files
        sys.stderr.write(f"{files} files in {seconds:.1f} s\n")
        precision = flat_precision(folder, studies)
    return [
        Figure(name="scan.files_per_second", value=files / seconds, unit="1/s", goal=1000, command=COMMAND),
        Figure(name="scan.precision", value=precision, unit="share", goal=1.0, command=COMMAND),
    ]


def write_headers(folder: Path, files: int) -> None:
    """Write radiographs of a few pixels in folders of a hundred, without a suffix, four to a patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
    )
    for number in range(files):
        meta.MediaStorageSOPInstanceUID = f"2.25.{number + 1}.1"
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"2.25.{number + 1}", f"2.25.{number + 1}.2"
        dataset.PatientID, dataset.PatientName = f"{number // 4:08d}", "Benchmark^Patient"
        dataset.AccessionNumber, dataset.Modality, dataset.ViewPosition = f"A{number:08d}", "DX", "PA"
        dataset.StudyDate, dataset.StudyTime = f"2150{1 + number % 12:02d}{1 + number % 28:02d}", "101500"
        dataset.Rows = dataset.Columns = _PIXELS
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = bytes(2 * _PIXELS**2)
        path = folder / f"{number // 100:04d}" / f"IM{number % 100:06d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path)


def flat_precision(folder: Path, studies: int) -> float:
    """Return the share of phantom studies that a scan of their files in one folder finds exactly.

    A study counts if its patient, split, labels, groups and the file of every modality are those of the phantom's
    table. A study that the phantom does not have counts as wrong.
    """
    made = write_phantom_cohort(folder / "made", studies=studies, seed=0, modalities=default_modalities())
    (folder / "flat").mkdir()
    for file in sorted(made.parent.rglob("*")):
        if file.is_file() and file.suffix != ".yaml":
            shutil.copy(file, folder / "flat")
    scanned = scan_folder(folder / "flat", out=folder / "proposed", modalities=default_modalities()).cohort
    expected, found = _content(read_cohort(made)), _content(scanned)
    right = sum(expected.get(study) == content for study, content in found.items())
    return right / max(len(expected), len(found))


def _content(cohort: Cohort) -> Mapping[str, object]:
    return {study.study_id: _fields(study, cohort) for study in cohort.studies}


def _fields(study: Study, cohort: Cohort) -> object:
    files = {name: source.name for name, source in study.sources.items() if isinstance(source, Path)}
    labels = dict(zip(cohort.labels, study.labels, strict=True))
    return study.patient_id, study.split, files, labels, dict(study.groups)
