"""Read sex and age from the headers of DICOM radiographs, for data sets whose tables have neither."""

import re
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from polyclinic.system.progress import track

SCHEMA = pa.schema([("path", pa.string()), ("sex", pa.string()), ("age", pa.int64()), ("readable", pa.bool_())])
_MAX_AGE = 110
_TAGS = ["PatientSex", "PatientAge"]
_MAX_HEADER_BYTES = 1_000_000
_META_BYTES = 4096
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_AGE = re.compile(r"0*(\d{1,3})([YMWD])?")
_PER_YEAR = {"Y": 1, "M": 12, "W": 52, "D": 365}


def read_people(root: Path, paths: Iterable[str]) -> pa.Table:
    """Read headers to the columns of ``SCHEMA``; sex and age are null where absent or implausible, as is 0 years.

    A header that is deflated, or longer than a megabyte before the pixels, is not readable.

    Args:
        root: base folder of the paths.
        paths: DICOM files, relative to the root.
    """
    import pydicom  # noqa: PLC0415 - only needed for data sets in DICOM

    rows: list[dict[str, Any]] = []
    for path in track(list(paths), description="reading headers"):
        row: dict[str, Any] = {"path": path, "sex": None, "age": None, "readable": False}
        with (root / path).open("rb") as stream:
            start = stream.read(_MAX_HEADER_BYTES)
        try:
            if _DEFLATED in start[:_META_BYTES]:
                raise ValueError("a deflated header can expand without limit")
            with warnings.catch_warnings():
                # Values that do not conform are read, and refused below.
                warnings.simplefilter("ignore")
                header = pydicom.dcmread(BytesIO(start), stop_before_pixels=True, specific_tags=_TAGS)
                row |= {"readable": True, "sex": _sex(header), "age": _age(header)}
        except Exception:
            # Damaged files make pydicom raise exceptions of many types.
            row["readable"] = False
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _sex(header: Any) -> str | None:
    sex = str(header.get("PatientSex") or "").strip().upper()
    return sex if sex in ("F", "M") else None


def _age(header: Any) -> int | None:
    """Return the age in years; DICOM writes 058Y, 010M, 003W and 003D, and some files write a plain number."""
    match = _AGE.fullmatch(str(header.get("PatientAge") or "").strip().upper())
    if match is None:
        return None
    unit = match[2] or "Y"
    years = int(match[1]) // _PER_YEAR[unit]
    return years if years <= _MAX_AGE and (years > 0 or unit != "Y") else None
