"""Recognise CT and MR slices and NIfTI files by their header."""

from dataclasses import replace
from pathlib import Path

from polyclinic.modality import Recognised, UnreadableSource
from polyclinic_dicom.header import read_header
from polyclinic_volume.reading.nifti import read_header as read_nifti_header
from polyclinic_volume.reading.reader import is_nifti
from polyclinic_volume.reading.slices import MODALITIES, series_files

_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
"""Start of the SOP classes of secondary captures, such as screen shots of a scan."""


def recognise_volume(path: Path) -> Recognised:
    """Return the identifiers of a slice, planning images last; NIfTI states none.

    Raises:
        UnreadableSource: the file is neither NIfTI nor a slice of CT or MR.
    """
    if is_nifti(path):
        read_nifti_header(path)
        return Recognised()
    header = read_header(path)
    if header.modality not in MODALITIES:
        raise UnreadableSource("DICOM of another modality than CT and MR")
    if not header.has_image or header.sop_class.startswith(_SECONDARY):
        raise UnreadableSource("DICOM without a slice of a scan")
    series = series_files(path).slices
    return replace(header.stated, preference=int(any(each.is_localizer for each in series)))
