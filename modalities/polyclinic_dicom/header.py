"""Read the identifiers in the header of a DICOM file, without its pixels and samples."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from polyclinic.modality import Recognised, UnreadableSource
from polyclinic_dicom.parse import parse_dicom

_HEAD_BYTES = 2**16
_PREAMBLE, _MAGIC = 128, b"DICM"
# Without a preamble, a file starts with an element of group 0002 or 0008, in either byte order.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_KEYWORDS = (
    *("SOPClassUID", "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "StudyDate", "StudyTime"),
    *("AccessionNumber", "Modality", "PatientID", "ViewPosition", "StudyInstanceUID", "Rows", "Columns"),
)
_MAX_INFLATED_BYTES = 2**24


@dataclass(frozen=True, kw_only=True)
class Header:
    """Elements that decide what a DICOM file is.

    Attributes:
        modality: Modality (0008,0060).
        sop_class: SOP Class UID.
        has_image: whether the image has rows and columns.
        view: View Position (0018,5101).
        stated: identifiers of the patient and the study.
    """

    modality: str
    sop_class: str
    has_image: bool
    view: str
    stated: Recognised


def read_header(path: Path) -> Header:
    """Read the header of a DICOM file with or without the 128-byte preamble.

    Raises:
        UnreadableSource: the file is not DICOM, its header is damaged, or it states several patients or studies.
    """
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None


@lru_cache(maxsize=4)
def _read(path: Path, modified: int, size: int) -> Header:
    """Read a header; the plugins that share a suffix ask for the same file in turn."""
    with warnings.catch_warnings():
        # pydicom warns about every odd value of elements that decide nothing here.
        warnings.simplefilter("ignore")
        dataset = read_elements(path, _KEYWORDS)
        try:
            return _header(dataset)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOM header cannot be parsed ({type(error).__name__})") from None


def read_elements(path: Path, keywords: Sequence[str]) -> Dataset:
    """Parse a DICOM file up to the last of some elements, which are in the result as far as the file has them.

    Raises:
        UnreadableSource: the file is not DICOM, or its header is damaged.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        head, size = stream.read(_HEAD_BYTES), os.fstat(stream.fileno()).st_size
    if head[_PREAMBLE : _PREAMBLE + 4] != _MAGIC and not head.startswith(_FIRST_GROUPS):
        raise UnreadableSource("not a DICOM file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _parse(path, head, size, sorted(map(Tag, keywords)))
        except (UnreadableSource, OSError):
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOM header cannot be parsed ({type(error).__name__})") from None


def _parse(path: Path, head: bytes, size: int, tags: list[BaseTag]) -> Dataset:
    """Parse the elements up to the last of some, from the head of the file if they fit into it."""
    reached: list[BaseTag] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        reached.append(tag)
        return tag > tags[-1]

    if DeflatedExplicitVRLittleEndian.encode() in head[:1024]:
        return parse_dicom(path, max_inflated=_MAX_INFLATED_BYTES, expected="DICOM file")
    try:
        dataset = read_partial(BytesIO(head), stop_when=stop, force=True, specific_tags=list(tags))
    except Exception:
        if size <= len(head):
            raise
    else:
        if size <= len(head) or (reached and reached[-1] > tags[-1]):
            return dataset
    return parse_dicom(path, max_inflated=_MAX_INFLATED_BYTES, expected="DICOM file")


def _header(dataset: Dataset) -> Header:
    if not dataset.get("SOPClassUID") and not dataset.get("Modality"):
        raise UnreadableSource("DICOM without a SOP Class UID and a Modality, such as a cut-off file or a directory")
    stated = Recognised(
        patient=_single(dataset, "PatientID"),
        study=_single(dataset, "StudyInstanceUID"),
        accession=_single(dataset, "AccessionNumber"),
        time=_time(dataset),
    )
    return Header(
        modality=_text(dataset, "Modality"),
        sop_class=_text(dataset, "SOPClassUID"),
        has_image=bool(dataset.get("Rows") and dataset.get("Columns")),
        view=_text(dataset, "ViewPosition"),
        stated=stated,
    )


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _single(dataset: Dataset, keyword: str) -> str:
    """Return an identifier.

    Raises:
        UnreadableSource: the element has several different values.
    """
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        different = {str(each).strip() for each in value} - {""}
        if len(different) > 1:
            raise UnreadableSource(f"header with {len(different)} values of {keyword}, expected one")
        return next(iter(different), "")
    return str(value or "").strip()


def _time(dataset: Dataset) -> str:
    """Return the time of the acquisition, else of the study, in ISO 8601; empty where a header states none."""
    stamp = _text(dataset, "AcquisitionDateTime")
    if not stamp:
        for kind in ("Acquisition", "Study"):
            day, moment = _text(dataset, f"{kind}Date"), _text(dataset, f"{kind}Time")
            if day:
                stamp = day.replace(".", "") + moment.replace(":", "")
                break
    digits = stamp[:14].partition(".")[0]
    if not (digits.isascii() and digits.isdecimal() and len(digits) in (8, 10, 12, 14)):
        return ""
    day, moment = digits[:8], digits[8:].ljust(6, "0")
    zone = stamp[-5:] if stamp[-5:-4] in ("+", "-") else ""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{moment[:2]}:{moment[2:4]}:{moment[4:]}{zone}"
