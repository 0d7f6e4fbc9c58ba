"""Recognise electrocardiograms by their header or, for exports of carts, by their content."""

from pathlib import Path

from polyclinic.modality import Recognised, UnreadableSource, names_nobody
from polyclinic_dicom.header import read_header
from polyclinic_ecg.reading.cart import CSV, CartFormat, decode, sniff
from polyclinic_ecg.reading.csv_leads import check_csv
from polyclinic_ecg.reading.wfdb_header import beside, header_lines, is_segmented, parse_header, parse_outline
from polyclinic_ecg.reading.wfdb_record import header_of

_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."
"""Start of the SOP Class UIDs of waveforms (PS3.4 B.5)."""

_MODALITIES = ("ECG", "")
_RECORDS = (".hea", ".dat")


def recognise_recording(path: Path) -> Recognised:
    """Return the identifiers in a DICOM waveform or in the export of a cart; none for WFDB, CSV and EDF.

    Raises:
        UnreadableSource: the header is invalid, lacks its signal files, or belongs to another modality.
    """
    # Beside a record, `read` takes a name without suffix for the record: here it may be another file of the study.
    header = header_of(path) if path.suffix.lower() in _RECORDS else None
    if header is not None:
        _check_record(header)
        return Recognised()
    exported = sniff(path)
    if exported == CSV:
        check_csv(path)
        return Recognised()
    if exported is not None:
        return _of_export(path, exported)
    dicom = read_header(path)
    if not dicom.sop_class.startswith(_WAVEFORMS) or dicom.modality not in _MODALITIES:
        raise UnreadableSource("DICOM without an electrocardiogram")
    return dicom.stated


def _of_export(path: Path, exported: CartFormat) -> Recognised:
    # The library has no way to read the patient without the samples.
    decoded = decode(path, exported)
    if decoded.format.name == "edf":  # its field of the patient is free text
        return Recognised()
    patient, time = decoded.record.patient.patient_id.strip(), decoded.record.recording.date
    return Recognised(
        patient="" if names_nobody(patient) else patient, time="" if time is None else time.isoformat()
    )  # fmt: skip


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
