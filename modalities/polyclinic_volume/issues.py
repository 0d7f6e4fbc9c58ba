"""Issues of a volume: identifiers in headers, faces, few or thick slices, and doubts about orientation."""

import warnings
from collections.abc import Iterator
from pathlib import Path

from polyclinic.modality import Issue, Source, dicom_issues, dicom_names, identifying_fields
from polyclinic_volume.reading.nifti import read_header
from polyclinic_volume.reading.series import parse_slice
from polyclinic_volume.reading.slices import series_files
from polyclinic_volume.voxels import Voxels

_MIN_SLICES, _MAX_SPACING = 8, 10.0
_MAX_FORM_DIFFERENCE = 0.5
_HEADS = ("HEAD", "SKULL", "BRAIN", "FACE", "ORBIT", "SINUS", "IAC", "NECK", "HEADNECK", "PITUITARY")
NIFTI_TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


def volume_issues(source: Source, voxels: Voxels) -> Iterator[Issue]:
    """Yield the issues of a volume; header fields are named, never their values."""
    if isinstance(source, Path):
        yield from _dicom_header(source) if voxels.facts["format"] == "dicom" else _nifti_header(source)
    yield from _geometry(voxels)
    if str(voxels.facts.get("body_part", "")) in _HEADS:
        message = "a scan of the head, from which a face can be drawn; remove the face before it leaves the hospital"
        yield Issue(severity="warning", code="face", message=message)


def nifti_names(path: Path) -> list[str]:
    """Return texts of a NIfTI header after which a person may be called."""
    header = read_header(path).header
    texts = [text_of(header, name) for name in NIFTI_TEXTS]
    return list(dict.fromkeys(name for text in texts for name in dicom_names({"PatientName": text}.get) if name))


def text_of(header: object, name: str) -> str:
    """Return a text of a NIfTI header; empty where the header has no such field."""
    fields = getattr(getattr(header, "structarr", None), "dtype", None)
    if fields is None or name not in (fields.names or ()):
        return ""
    content: bytes = bytes(header[name].tobytes())  # type: ignore[index]
    return content.split(b"\0")[0].decode("latin-1").strip()


def _dicom_header(source: Path) -> Iterator[Issue]:
    with warnings.catch_warnings():
        # pydicom warns about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        yield from dicom_issues(parse_slice(series_files(source).slices[0].path).get)


def _nifti_header(source: Path) -> Iterator[Issue]:
    header = read_header(source).header
    fields = [name for name in NIFTI_TEXTS if any(identifying_fields(text_of(header, name)))]
    if fields:
        message = f"the file names a person in {', '.join(fields)}"
        yield Issue(severity="warning", code="header-identifiers", message=message)


def _geometry(voxels: Voxels) -> Iterator[Issue]:
    facts, spacing = voxels.facts, voxels.spacing
    if min(voxels.values.shape) < _MIN_SLICES:
        message = f"a volume of {min(voxels.values.shape)} slices; expected {_MIN_SLICES} or more"
        yield Issue(severity="warning", code="few-slices", message=message)
    if spacing.max() > _MAX_SPACING:
        message = f"voxels of {spacing.max():.1f} mm; expected at most {_MAX_SPACING:g} mm"
        yield Issue(severity="warning", code="thick-slices", message=message)
    if float(facts.get("form_difference", 0.0)) > _MAX_FORM_DIFFERENCE:
        message = "the two orientations of the header (qform and sform) differ; the sform is used"
        yield Issue(severity="warning", code="orientation", message=message)
    if facts.get("unit") == "not stated":
        message = "the unit of length is not stated; it is taken to be millimetres"
        yield Issue(severity="warning", code="unit-of-length", message=message)
    if facts.get("repeated_numbers"):
        message = f"{facts['repeated_numbers']:g} slices repeat an Instance Number; they are ordered by position"
        yield Issue(severity="warning", code="instance-number", message=message)
    if facts.get("broken_beside"):
        message = f"{facts['broken_beside']:g} DICOM files beside it cannot be read, and may be slices of its ends"
        yield Issue(severity="warning", code="broken-beside", message=message)
