"""Clean the header of a DICOM dataset and write it as a new file."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UID_dictionary

from polyclinic.modality import DicomStandard, Identity, UnreadableSource, clean_dicom

STANDARD = DicomStandard(
    item=Dataset,
    keyword=keyword_for_tag,
    sop_classes={uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class"},
)
"""The part of the standard that pydicom knows."""


@contextmanager
def refused_if_not_writable() -> Iterator[None]:
    """Silence pydicom's warnings and turn its errors into a refusal of the file.

    Raises:
        UnreadableSource: the block raised an error that is neither this one nor an ``OSError``.
    """
    with warnings.catch_warnings():
        # pydicom warns about every odd value; plugins read the new file again and compare pixels or samples.
        warnings.simplefilter("ignore")
        try:
            yield
        except (UnreadableSource, OSError):
            raise
        except Exception as error:
            raise UnreadableSource(f"its header cannot be cleaned or written ({type(error).__name__})") from None


def clean_dataset(
    dataset: Dataset, *, identity: Identity, standard: DicomStandard = STANDARD
) -> tuple[Dataset, Counter[str]]:
    """Return a copy with the listed elements only, and the number of changes and removals of each rule.

    Raises:
        UnreadableSource: the dataset has no SOP Class UID.
    """
    if not dataset.get("SOPClassUID"):
        raise UnreadableSource("DICOM without a SOP Class UID, which a file must have")
    return clean_dicom(dataset, identity=identity, standard=standard)


def write_dataset(clean: Dataset, out: Path, identity: Identity) -> Path:
    """Write a cleaned dataset in Explicit VR Little Endian, with an empty preamble and new file meta information.

    Args:
        clean: dataset from ``clean_dataset``; a missing SOP Instance UID is added to it.
        out: path of the new file without a suffix.
        identity: identity of the patient, from which the added UID is derived.
    """
    if not clean.get("SOPInstanceUID"):
        clean.SOPInstanceUID = identity.uid(out.name)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = clean.SOPClassUID, clean.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    target = out.with_name(f"{out.name}.dcm")
    FileDataset("", dict(clean), file_meta=meta, preamble=b"\0" * 128).save_as(target, enforce_file_format=True)
    return target
