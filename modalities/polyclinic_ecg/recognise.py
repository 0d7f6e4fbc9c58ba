"""Recognise electrocardiograms by their header."""

from pathlib import Path

from polyclinic.modality import Recognised, UnreadableSource
from polyclinic_dicom.header import read_header
from polyclinic_ecg.reading.wfdb_header import beside, header_lines, is_segmented, parse_header, parse_outline
from polyclinic_ecg.reading.wfdb_record import header_of

_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."
"""Start of the SOP Class UIDs of waveforms (PS3.4 B.5)."""

_MODALITIES = ("ECG", "")
_RECORDS = (".hea", ".dat")


def recognise_recording(path: Path) -> Recognised:
    """Return the identifiers in the header of a DICOM waveform; none for WFDB.

    Raises:
        UnreadableSource: the header is invalid, lacks its signal files, or belongs to another modality.
    """
    # Beside a record, `read` takes a name without suffix for the record: here it may be another file of the study.
    header = header_of(path) if path.suffix.lower() in _RECORDS else None
    if header is not None:
        _check_record(header)
        return Recognised()
    dicom = read_header(path)
    if not dicom.sop_class.startswith(_WAVEFORMS) or dicom.modality not in _MODALITIES:
        raise UnreadableSource("DICOM without an electrocardiogram")
    return dicom.stated


def _check_record(header: Path) -> None:
    lines, ended = header_lines(header)
    if is_segmented(lines[0]):
        headers = [beside(header, f"{name}.hea") for name, _ in parse_outline(lines).segments if name]
        absent = sum(not each.is_file() for each in headers)
    else:
        files = {signal.file for signal in parse_header(lines, ended=ended).signals}
        absent = sum(not header.with_name(file).is_file() for file in files)
    if absent:
        raise UnreadableSource(f"WFDB header without {absent} of the files that it names")
