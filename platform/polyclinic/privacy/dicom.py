"""Rebuild DICOM headers from an allowlist of elements, on the datasets of a plugin.

The Basic Application Level Confidentiality Profile (PS3.15 annex E) lists what to remove, so that elements outside its
table remain. Here the list names what may remain, and each value has to pass a rule: no free text, private element,
overlay, curve, icon, annotation or structured content leaves, wherever it is in a file. Nothing is decoded here: the
caller provides the datasets and the registered terms of the standard.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from polyclinic.privacy.dicom_elements import ELEMENTS
from polyclinic.privacy.dicom_rules import coded, rebuilt
from polyclinic.privacy.dicom_values import Cleaning, DicomStandard
from polyclinic.privacy.identifiers import names_nobody
from polyclinic.privacy.identity import Identity

METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
"""De-identification methods, by code of CID 7050."""

_NAMES = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "ResponsiblePerson"),
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "PatientTelephoneNumbers"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord"),
    *("OperatorsName", "RequestingPhysician", "ConsultingPhysicianName", "PatientAddress"),
)


def dicom_names(value_of: Callable[[str], object]) -> Iterator[str]:
    """Yield the names and numbers of a patient and of people around them in a header.

    Args:
        value_of: function from a keyword to the value of its element, None where it is absent.
    """
    for keyword in _NAMES:
        value: Any = value_of(keyword)
        several = value if hasattr(value, "append") else [value]
        yield from (str(name) for name in several if value is not None and not names_nobody(str(name)))


def nested_names(dataset: Any) -> Iterator[str]:
    """Yield ``dicom_names`` of a dataset and of all its nested items, and every other person name.

    Args:
        dataset: pydicom dataset; elements that cannot be decoded are skipped.
    """
    yield from dicom_names(lambda keyword: _decoded(dataset, keyword).value if keyword in dataset else None)
    for tag in list(dataset.keys()):
        # Other VRs are not decoded; without explicit VRs every element has to be.
        element = _decoded(dataset, tag) if dataset.get_item(tag).VR in (None, "SQ", "PN") else _NOTHING
        if element.VR == "SQ":
            for item in element.value:
                yield from nested_names(item)
        elif element.VR == "PN" and element.keyword not in _NAMES:
            yield from dicom_names({_NAMES[0]: element.value}.get)


class _Undecoded(NamedTuple):
    """A stand-in for an element that cannot be decoded."""

    VR: str = ""
    keyword: str = ""
    value: None = None


_NOTHING: Any = _Undecoded()


def _decoded(dataset: Any, key: Any) -> Any:
    try:
        return dataset[key]
    except Exception:  # The VR does not allow the value.
        return _NOTHING


def clean_dicom(dataset: Any, *, identity: Identity, standard: DicomStandard) -> tuple[Any, Counter[str]]:
    """Rebuild a dataset from the elements that may leave, and record the methods in it.

    Dates are shifted by the days of the patient and times are unchanged, birth dates are emptied, ages over 89 become
    90, and UIDs are mapped. Pixels are left out, for the caller to write as decoded; burned-in text is not checked.

    Args:
        dataset: pydicom dataset without its file meta information; it is not changed.
        identity: identity of the patient.
        standard: the standard, as the caller's library knows it.

    Returns:
        The new dataset, and the number of elements that each rule changed or removed.
    """
    little = getattr(dataset, "original_encoding", (None, None))[1]
    cleaning = Cleaning(identity=identity, standard=standard, big_endian=little is False)
    clean = rebuilt(dataset, ELEMENTS, cleaning)
    clean.PatientName = clean.PatientID = identity.patient_id
    # A conforming object must have these elements, but may leave them empty.
    clean.PatientBirthDate = clean.StudyID = clean.AccessionNumber = clean.ReferringPhysicianName = ""
    clean.PatientIdentityRemoved = "YES"
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    clean.DeidentificationMethod = "polyclinic deidentify"
    clean.DeidentificationMethodCodeSequence = [coded(cleaning, "DCM", *pair) for pair in METHODS.items()]
    return clean, +cleaning.removed
