"""Elements of a DICOM header that are likely to name a patient."""

from collections.abc import Callable, Iterator

from polyclinic.modality.concern import Concern
from polyclinic.privacy.identifiers import identifying_fields, names_nobody

# PS3.15 table E.1-1, as far as a person is named or can be reached by it.
_NAMING = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "ResponsiblePerson"),
    *("PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
)
# A hospital's register leads from these to a person; in research data they are often pseudonyms.
_NUMBERING = ("PatientID", "OtherPatientIDs", "AccessionNumber")
_FREE = ("PatientComments", "ImageComments", "AdditionalPatientHistory")


def dicom_concerns(value_of: Callable[[str], object]) -> Iterator[Concern]:
    """Report the elements of a DICOM header that name a patient or lead to one.

    Args:
        value_of: returns the value of an element by its keyword, None where it is absent.
    """
    named = _identifying(value_of, _NAMING)
    free = {keyword: identifying_fields(str(value_of(keyword))) for keyword in _FREE}
    named += [f"{keyword} ({', '.join(kinds)})" for keyword, kinds in free.items() if kinds]
    if named:
        said = f"the header names a person in {', '.join(named)}"
        yield Concern(severity="warning", code="header-identifiers", said=said)
    if str(value_of("PatientIdentityRemoved")).upper() != "YES" and (numbers := _identifying(value_of, _NUMBERING)):
        said = f"the header holds {', '.join(numbers)}, and does not say that they are pseudonyms"
        yield Concern(severity="note", code="header-numbers", said=said)
    if str(value_of("BurnedInAnnotation")).upper() == "YES":
        yield Concern(severity="warning", code="burned-in-annotation", said="the header says BurnedInAnnotation YES")


def _identifying(value_of: Callable[[str], object], keywords: tuple[str, ...]) -> list[str]:
    values = {keyword: value_of(keyword) for keyword in keywords}
    return [keyword for keyword, value in values.items() if value is not None and not names_nobody(str(value))]
