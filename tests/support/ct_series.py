"""Write small CT and MR series whose voxels say where they are, and NIfTI files of the same volume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
COLUMNS, ROWS, SLICES = 10, 8, 9
SPACING, GAP = (1.5, 0.8), 2.5
"""Distance between rows and between columns, and between slices, in mm."""


def field(right: Any, front: Any, head: Any) -> Any:
    """Return a value that is linear in the position in mm, so that it can be computed anywhere."""
    return 3.0 * right - 2.0 * front + 5.0 * head + 100.0


def write_series(
    folder: Path,
    *,
    modality: str = "CT",
    orientation: tuple[float, ...] = AXIAL,
    origin: tuple[float, float, float] = (-20.0, 15.0, 40.0),
    change: Callable[[int, Dataset], None] | None = None,
    leave_out: tuple[int, ...] = (),
    slices: int = SLICES,
    name: str = "slice {index:03d}.dcm",
    shear: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Path:
    """Write a series of ``field`` in the patient's coordinates; files are called in the reverse order of places.

    Args:
        folder: folder of the series, which is made.
        modality: CT or MR.
        orientation: directions of rows and columns in LPS.
        origin: centre of the first pixel in LPS.
        change: change of the dataset of each slice before it is written.
        leave_out: numbers of slices that are not written.
        slices: number of slices.
        name: pattern of the file names.
        shear: shift of each slice in mm against the one before it, in LPS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    for index in range(slices):
        if index in leave_out:
            continue
        position = np.array(origin) + index * (GAP * normal + np.array(shear))
        down, across = np.mgrid[:ROWS, :COLUMNS]
        places = position + across[..., None] * row * SPACING[1] + down[..., None] * column * SPACING[0]
        values = field(-places[..., 0], -places[..., 1], places[..., 2])
        dataset = slice_dataset(values, position, index, modality=modality, orientation=orientation)
        if change is not None:
            change(index, dataset)
        path = folder / name.format(index=slices - index)
        dataset.save_as(path, enforce_file_format=True)
    return folder


def slice_dataset(
    values: np.ndarray, position: np.ndarray, index: int, *, modality: str, orientation: tuple[float, ...]
) -> FileDataset:
    """Build a slice whose slope and intercept differ from those of the next one, as on some MR scanners."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"2.25.77{index}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    dataset.Modality, dataset.PatientID, dataset.PatientName = modality, "P77001122", "DOE^JOHN"
    dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20200131", "101500", "A-1"
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.10f}" for value in orientation]
    dataset.PixelSpacing, dataset.SliceThickness = list(SPACING), GAP
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    slope, intercept = 0.05 + 0.01 * (index % 3), -1500.0 - index
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, intercept, "HU"
    dataset.PixelData = np.round((values - intercept) / slope).astype("<u2").tobytes()
    return dataset


def multiframe(folder: Path, path: Path) -> Path:
    """Join the slices of a series to one enhanced image with a functional group for each frame."""
    parts = [dcmread(each) for each in sorted(folder.iterdir())]
    joined = parts[0]
    joined.NumberOfFrames = len(parts)
    joined.PixelData = b"".join(part.PixelData for part in parts)
    joined.SharedFunctionalGroupsSequence = [_group(PixelMeasuresSequence={"PixelSpacing": list(SPACING)})]
    joined.PerFrameFunctionalGroupsSequence = [
        _group(
            PlanePositionSequence={"ImagePositionPatient": part.ImagePositionPatient},
            PlaneOrientationSequence={"ImageOrientationPatient": part.ImageOrientationPatient},
            PixelValueTransformationSequence={
                "RescaleSlope": part.RescaleSlope,
                "RescaleIntercept": part.RescaleIntercept,
                "RescaleType": "HU",
            },
        )
        for part in parts
    ]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(joined, keyword)
    joined.save_as(path, enforce_file_format=True)
    return path


def _group(**macros: dict[str, Any]) -> Dataset:
    group = Dataset()
    for name, elements in macros.items():
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        setattr(group, name, [item])
    return group
