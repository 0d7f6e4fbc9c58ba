"""Find the people and identifiers that a cart export names."""

import re
from collections.abc import Iterator
from importlib import import_module
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
_XML = ("ge-muse-xml", "hl7-aecg", "philips-sierra-xml", "mortara-xml")
# Tags and attributes that hold a person's name in the XML formats, also of people whom the library does not report.
_NAME_TAG = re.compile(r"(?:(?:last|first|middle)_?name|family|given)$", re.IGNORECASE)


def cart_names(path: Path) -> list[str]:
    """Return names and numbers of the patient and of people around them, and names that free text labels.

    Raises:
        UnreadableSource: the file cannot be decoded.
    """
    if cart_format(path) == CSV:
        return []
    record = decode(path).record
    values = [value for _, value in _people(path, record)]
    return list(dict.fromkeys([*values, *labelled_names(_free_text(record))]))


def cart_identifiers(path: Path) -> list[str]:
    """Return the kinds of identifiers that a file holds, such as ``name of the patient``, never their values.

    Raises:
        UnreadableSource: the file cannot be decoded.
    """
    if cart_format(path) == CSV:
        return []
    record = decode(path).record
    kinds = [kind for kind, _ in _people(path, record)]
    if record.patient.birth_date is not None:
        kinds.append("date of birth")
    return list(dict.fromkeys([*kinds, *identifying_fields(_free_text(record))]))


def _people(path: Path, record: Any) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each name or number that is neither empty nor a filler."""
    reported = [(kind, value.strip()) for kind, value in _reported(record)]
    known = " ".join(value for _, value in reported)
    tagged = [("name of a person", name) for name in _tagged(path) if name not in known]
    yield from ((kind, value) for kind, value in [*reported, *tagged] if value and not names_nobody(value))


def _reported(record: Any) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each name or number that the library reports, also empty ones."""
    patient, recording = record.patient, record.recording
    first, last = patient.first_name.strip(), patient.last_name.strip()
    if record.source_format == "edf":
        # Plain EDF has no fields in its text about the patient; an underscore stands for a space.
        words = patient.patient_id.replace("_", " ").split()
        yield from (("words about the patient", word) for word in words if word != "X")
        return
    yield "name of the patient", f"{first} {last}"
    yield "number of the patient", patient.patient_id
    yield "name of a physician", recording.referring_physician
    yield "name of a physician", record.interpretation.interpreter
    yield "name of a technician", recording.technician
    yield "serial number", recording.device.serial_number
    yield from (("name of a person", str(record.raw_metadata.get(key, ""))) for key in _PEOPLE)


def _tagged(path: Path) -> Iterator[str]:
    """Yield the value of each tag or attribute for a name in an XML format."""
    if cart_format(path) not in _XML:
        return
    root = import_module("ecgdatakit.parsing.helpers.xml").parse_xml_root(path.read_bytes())
    for element in root.iter():
        for tag, value in ((element.tag, element.text), *element.attrib.items()):
            if value and value.strip() and _NAME_TAG.search(tag):
                yield value.strip()


def _free_text(record: Any) -> str:
    statements = [" ".join(parts) for parts in record.interpretation.statements]
    annotations = [str(value) for value in record.annotations.values()]
    return "\n".join([*statements, *annotations, record.patient.clinical_history])
