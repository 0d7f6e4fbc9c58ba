"""Read a DICOMDIR, the index of a medium (PS3.3, F.3)."""

import warnings
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from polyclinic.modality import IndexEntry, UnreadableSource
from polyclinic_dicom.parse import parse_dicom

_MAX_BYTES = 2**26
_MAX_INFLATED_BYTES = 2**26
_DIRECTORY = "1.2.840.10008.1.3.10"


def read_directory(path: Path) -> list[IndexEntry]:
    """Return the files of a DICOMDIR in its order, each with the patient and study of the records above it.

    Records that no other record or that several records lead to are returned once.

    Raises:
        UnreadableSource: the file is not a DICOMDIR, is cut off or too large, or its root record is missing.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UnreadableSource(f"DICOMDIR larger than {_MAX_BYTES:,} bytes")
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about odd values, which decide nothing here
        dataset = parse_dicom(path, max_inflated=_MAX_INFLATED_BYTES, expected="DICOMDIR")
        try:
            return _entries(dataset)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOMDIR that cannot be parsed ({type(error).__name__})") from None


def _entries(dataset: Dataset) -> list[IndexEntry]:
    meta = getattr(dataset, "file_meta", Dataset())
    if str(meta.get("MediaStorageSOPClassUID", "")) != _DIRECTORY or "DirectoryRecordSequence" not in dataset:
        raise UnreadableSource("not a DICOMDIR, or one that is cut off")
    records = {record.seq_item_tell: record for record in dataset.DirectoryRecordSequence}
    first = int(dataset.get("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity") or 0)
    if first not in records and (first or records):
        raise UnreadableSource("DICOMDIR without its root record, such as one that is cut off")
    found: list[IndexEntry] = []
    waiting = [(first, "", "")]
    while waiting:
        offset, patient, study = waiting.pop()
        record = records.pop(offset, None)  # once each: damaged offsets may form a circle
        if record is None:
            continue
        waiting.append((int(record.get("OffsetOfTheNextDirectoryRecord") or 0), patient, study))
        patient = str(record.get("PatientID") or patient).strip()
        study = str(record.get("StudyInstanceUID") or study).strip()
        if parts := record.get("ReferencedFileID"):
            names = [str(part) for part in parts] if isinstance(parts, MultiValue) else [str(parts)]
            found.append(IndexEntry(tuple(names), patient, study))
        waiting.append((int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity") or 0), patient, study))
    return found
