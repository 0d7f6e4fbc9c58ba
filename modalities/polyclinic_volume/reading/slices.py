"""The headers of DICOM slices, and the slices of a series in a folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.header import read_elements

MODALITIES = {"CT": "ct", "MR": "mr"}
"""Kind of a volume by Modality (0008,0060)."""

_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "NumberOfFrames"),
    *("Rows", "Columns", "PixelSpacing"),
)
_MAX_FILES = 20_000


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A file of a series, or a frame of a file.

    Attributes:
        path: file.
        series: Series Instance UID.
        patient: Patient ID.
        study: Study Instance UID.
        modality: Modality (0008,0060).
        instance: SOP Instance UID.
        number: Instance Number as text; empty where it is not stated.
        frames: number of frames of the file.
        frame: number of this frame, from 0.
        size: rows and columns.
        spacing: distance between rows and between columns in mm; empty where it is not stated.
        position: centre of the first pixel in mm, in LPS; empty where it is not stated.
        orientation: directions of the rows and of the columns; empty where it is not stated.
        is_localizer: whether Image Type says that it is a planning image.
        reference: Frame of Reference UID.
    """

    path: Path
    series: str
    patient: str
    study: str
    modality: str
    instance: str
    number: str
    frames: int
    size: tuple[int, int]
    spacing: tuple[float, ...]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    is_localizer: bool
    reference: str
    frame: int = 0


class Series(NamedTuple):
    """The slices of a series, and the number of DICOM files beside them whose header cannot be read."""

    slices: tuple[Slice, ...]
    broken: int


def series_files(source: Path) -> Series:
    """Return the slices of a series, by the names of their files.

    Args:
        source: a folder that holds one series, or one file, which stands for all files of its series in its folder.

    Raises:
        UnreadableSource: the source cannot be opened or is not DICOM, or its folder holds no series, or several.
    """
    folder = source if source.is_dir() else source.parent
    if not source.is_dir() and not source.is_file():
        raise UnreadableSource("file cannot be opened (FileNotFoundError)")
    named = None if source.is_dir() else _named(source)
    try:
        stamp = folder.stat().st_mtime_ns
        slices, broken, leaving = _indexed(folder, stamp)
    except OSError as error:
        raise UnreadableSource(f"folder cannot be opened ({type(error).__name__})") from None
    if named is not None:
        same = tuple(each for each in slices if each.series == named.series)
        return Series(same if named.series and same else (named,), broken)
    if leaving:
        raise UnreadableSource(f"{leaving} links lead out of the folder of the series; copy the files into it")
    if broken:
        raise UnreadableSource(f"{broken} DICOM files of the folder have a header that cannot be read")
    different = len({each.series for each in slices})
    if different != 1:
        found = f"{different} series" if different else "no DICOM slices"
        raise UnreadableSource(f"{found} in the folder; expected one series, so name a file of the one to read")
    return Series(slices, 0)


def slice_of(dataset: Dataset, path: Path) -> Slice:
    """Return the facts of a slice.

    Raises:
        UnreadableSource: an element has a value of another kind.
    """
    try:
        return Slice(
            path=path,
            series=_text(dataset, "SeriesInstanceUID"),
            patient=_text(dataset, "PatientID"),
            study=_text(dataset, "StudyInstanceUID"),
            modality=_text(dataset, "Modality"),
            instance=_text(dataset, "SOPInstanceUID"),
            number=_text(dataset, "InstanceNumber"),
            frames=int(dataset.get("NumberOfFrames") or 1),
            size=(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)),
            spacing=numbers_of(dataset.get("PixelSpacing")),
            position=numbers_of(dataset.get("ImagePositionPatient")),
            orientation=numbers_of(dataset.get("ImageOrientationPatient")),
            is_localizer="LOCALIZER" in [str(word).upper() for word in dataset.get("ImageType") or ()],
            reference=_text(dataset, "FrameOfReferenceUID"),
        )
    except (TypeError, ValueError) as error:
        raise UnreadableSource(f"DICOM slice with an invalid element ({type(error).__name__})") from None


def _named(source: Path) -> Slice:
    try:
        return slice_of(read_elements(source, _KEYWORDS), source)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None


@lru_cache(maxsize=8)
def _indexed(folder: Path, modified: int) -> tuple[tuple[Slice, ...], int, int]:
    """Return the image slices of a folder, and the numbers of broken files and of links that leave the folder.

    A scan asks for the same folder once for each of its files. ``read_series`` compares every file with its entry, as
    the time of a folder does not change with the content of a file.
    """
    root, slices, broken, leaving = folder.resolve(), list[Slice](), 0, 0
    for path in sorted(_files(folder)):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            leaving += 1
            continue
        try:
            found = slice_of(read_elements(path, _KEYWORDS), path)
        except UnreadableSource as error:
            broken += str(error) != "not a DICOM file"
            continue
        except OSError:
            broken += 1
            continue
        if found.size != (0, 0):
            slices.append(found)
        else:  # reports and plans of the same study have no image, but state what they are
            broken += found.modality in ("", *MODALITIES)
    return tuple(slices), broken, leaving


def _files(folder: Path) -> Sequence[Path]:
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if _is_listed(entry)]
    if len(found) > _MAX_FILES:
        raise UnreadableSource(f"folder of {len(found):,} files; expected at most {_MAX_FILES:,}, so move the series")
    return found


def _is_listed(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.name.upper() != "DICOMDIR" and entry.is_file()


def numbers_of(value: Any) -> tuple[float, ...]:
    """Return the numbers of an element; empty where it is missing.

    Raises:
        ValueError: a value is not a number.
    """
    if value is None or value == "":
        return ()
    return tuple(float(number) for number in (value if hasattr(value, "__len__") else (value,)))


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
