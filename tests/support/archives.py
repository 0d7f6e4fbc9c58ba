"""Folders as hospitals hand them over: files without a table, DICOM by its headers."""

import shutil
import zlib
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage

RADIOGRAPH = UID("1.2.840.10008.5.1.4.1.1.1.1")


def flatten(cohort: Path, folder: Path, *, table: bool = True) -> Path:
    """Copy the files of a phantom cohort, and its table, into one flat folder."""
    folder.mkdir(parents=True)
    for file in sorted(cohort.rglob("*")):
        if file.is_file() and file.suffix != ".yaml" and (table or file.name != "cohort.csv"):
            shutil.copy(file, folder)
    return folder


def write_dicom(path: Path, *, modality: str = "DX", **elements: object) -> Path:
    """Write a radiograph of four pixels, or the header of a waveform, with further elements by keyword."""
    kind = TwelveLeadECGWaveformStorage if modality == "ECG" else RADIOGRAPH
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, f"2.25.{zlib.crc32(path.as_posix().encode())}"
    dataset.Modality = modality
    if modality != "ECG":
        dataset.Rows = dataset.Columns = 2
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = bytes([0, 0, 1, 0, 2, 0, 3, 0])
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    FileDataset("", dict(dataset), file_meta=meta, preamble=b"\0" * 128).save_as(path, enforce_file_format=True)
    return path
