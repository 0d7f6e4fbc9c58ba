"""DICOM headers rebuilt from a closed list of elements, on the datasets of a plugin.

The Basic Application Level Confidentiality Profile (PS3.15 annex E) lists what has to go, so that whatever its table
does not know stays. Here the list says what may stay, and each value has to pass a rule: no free text, no private
element, no overlay, curve, icon, annotation or structured content leaves, wherever in a file it stands. Nothing is
decoded here: the datasets and what the standard registers come from the caller.
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
"""What was done, by code of CID 7050."""

_NAMES = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "ResponsiblePerson"),
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "PatientTelephoneNumbers"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord"),
    *("OperatorsName", "RequestingPhysician", "ConsultingPhysicianName", "PatientAddress"),
)


def dicom_names(value_of: Callable[[str], object]) -> Iterator[str]:
    """Names and numbers by which a header calls its patient and the people around, for texts of the same patient.

    Args:
        value_of: gives the value of an element by its keyword, None where it is absent.
    """
    for keyword in _NAMES:
        value: Any = value_of(keyword)
        several = value if hasattr(value, "append") else [value]
        yield from (str(one) for one in several if value is not None and not names_nobody(str(one)))


def nested_names(dataset: Any) -> Iterator[str]:
    """What ``dicom_names`` yields of a dataset and of all items in it, and every other name of a person.

    Args:
        dataset: of pydicom; an element that cannot be decoded is passed over.
    """
    yield from dicom_names(lambda keyword: _decoded(dataset, keyword).value if keyword in dataset else None)
    for tag in list(dataset.keys()):
        # What is stored as anything else is not decoded; without explicit VRs that is not known before.
        element = _decoded(dataset, tag) if dataset.get_item(tag).VR in (None, "SQ", "PN") else _NOTHING
        if element.VR == "SQ":
            for item in element.value:
                yield from nested_names(item)
        elif element.VR == "PN" and element.keyword not in _NAMES:
            yield from dicom_names({_NAMES[0]: element.value}.get)


class _Undecoded(NamedTuple):
    """An element that has no value."""

    VR: str = ""
    keyword: str = ""
    value: None = None


_NOTHING: Any = _Undecoded()


def _decoded(dataset: Any, key: Any) -> Any:
    try:
        return dataset[key]
    except Exception:  # a value that its VR does not allow
        return _NOTHING


def clean_dicom(dataset: Any, *, identity: Identity, standard: DicomStandard) -> tuple[Any, Counter[str]]:
    """Rebuild a dataset from the elements that may leave, and record in it what was done.

    Dates move by the patient's days while times stay, birth dates are emptied, ages over 89 become 90, and UIDs are
    mapped. Pixels are left out, for the caller to write as it decoded them; what is burned into them is not looked at.

    Args:
        dataset: of pydicom, without its file meta information; it is left as it is.
        identity: of the patient.
        standard: what the caller's library knows.

    Returns:
        The new dataset, and how many elements each rule changed or removed.
    """
    little = getattr(dataset, "original_encoding", (None, None))[1]
    cleaning = Cleaning(identity=identity, standard=standard, big_endian=little is False)
    clean = rebuilt(dataset, ELEMENTS, cleaning)
    clean.PatientName = clean.PatientID = identity.patient_id
    # What a conforming object must have, but may leave empty.
    clean.PatientBirthDate = clean.StudyID = clean.AccessionNumber = clean.ReferringPhysicianName = ""
    clean.PatientIdentityRemoved = "YES"
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    clean.DeidentificationMethod = "polyclinic deidentify"
    clean.DeidentificationMethodCodeSequence = [coded(cleaning, "DCM", *pair) for pair in METHODS.items()]
    return clean, +cleaning.removed
