"""Find the people and identifiers that a cart export names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyclinic.modality import identifying_fields, labelled_names, names_nobody
from polyclinic_ecg.reading.cart import CSV, cart_format, decode

# Keys of the library's metadata under which a format names people other than the patient and the usual staff.
_PEOPLE = (
    *("OrderingMDLastName", "OrderingMDFirstName", "OrderingMDID", "investigator", "study_event_performer"),
    *("confirming_physician", "md_signature_line", "middle_name", "patient_middle_name", "patient_name_phonetic"),
    *("admin_code", "mrn", "uniquepatientid", "SecondaryID"),
)


def cart_names(path: Path) -> list[str]:
    """Return names and numbers of the patient and of people around them, and names that free text labels.

    Raises:
        UnreadableSource: the file cannot be decoded.
    """
    if cart_format(path) == CSV:
        return []
    record = decode(path).record
    values = [value for _, value in _people(record) if not names_nobody(value)]
    return list(dict.fromkeys([*values, *labelled_names(_free_text(record))]))


def cart_identifiers(path: Path) -> list[str]:
    """Return the kinds of identifiers that a file holds, such as ``name of the patient``, never their values.

    Raises:
        UnreadableSource: the file cannot be decoded.
    """
    if cart_format(path) == CSV:
        return []
    record = decode(path).record
    kinds = [kind for kind, value in _people(record) if not names_nobody(value)]
    if record.patient.birth_date is not None:
        kinds.append("date of birth")
    return list(dict.fromkeys([*kinds, *identifying_fields(_free_text(record))]))


def _people(record: Any) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each name or number that is not empty."""
    patient, recording = record.patient, record.recording
    first, last = patient.first_name.strip(), patient.last_name.strip()
    if record.source_format == "edf":
        # Plain EDF has no fields in its text about the patient; an underscore stands for a space.
        words = patient.patient_id.replace("_", " ").split()
        yield from (("words about the patient", word) for word in words if word != "X")
        return
    found = [
        ("name of the patient", " ".join(part for part in (first, last) if part)),
        ("number of the patient", patient.patient_id),
        ("name of a physician", recording.referring_physician),
        ("name of a physician", record.interpretation.interpreter),
        ("name of a technician", recording.technician),
        ("serial number", recording.device.serial_number),
    ]
    found += [("name of a person", str(record.raw_metadata.get(key, ""))) for key in _PEOPLE]
    yield from ((kind, value.strip()) for kind, value in found if value.strip())


def _free_text(record: Any) -> str:
    statements = [" ".join(parts) for parts in record.interpretation.statements]
    annotations = [str(value) for value in record.annotations.values()]
    return "\n".join([*statements, *annotations, record.patient.clinical_history])
