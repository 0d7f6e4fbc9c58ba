"""Issues of sources that a person should review, described by kind and element, never by value."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from polyclinic.privacy.identifiers import identifying_fields, names_nobody

Severity: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Issue:
    """A finding about a readable source that a person should review before training on it.

    Attributes:
        severity: ``error`` where results would be wrong, ``warning`` where they may be or where a patient may be named,
            ``note`` for information.
        code: kind of issue, in words joined by hyphens such as ``flat-lead``.
        message: one sentence, which never quotes the name of a patient or a place.
        tolerated: share of the readable sources up to which this is only a note.
    """

    severity: Severity
    code: str
    message: str
    tolerated: float = 0.0


# Elements of PS3.15 table E.1-1 that name a person or are contact details.
_NAMING = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "ResponsiblePerson"),
    *("PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
)
# A hospital's register links these to a person; in research data they are often pseudonyms.
_NUMBERING = ("PatientID", "OtherPatientIDs", "AccessionNumber")
_FREE = ("PatientComments", "ImageComments", "AdditionalPatientHistory")


def dicom_issues(value_of: Callable[[str], object]) -> Iterator[Issue]:
    """Report the elements of a DICOM header that name a patient or can be linked to one.

    Args:
        value_of: function from a keyword to the value of its element, None where it is absent.
    """
    named = _identifying(value_of, _NAMING)
    free = {keyword: identifying_fields(str(value_of(keyword))) for keyword in _FREE}
    named += [f"{keyword} ({', '.join(kinds)})" for keyword, kinds in free.items() if kinds]
    if named:
        message = f"the header names a person in {', '.join(named)}"
        yield Issue(severity="warning", code="header-identifiers", message=message)
    if str(value_of("PatientIdentityRemoved")).upper() != "YES" and (numbers := _identifying(value_of, _NUMBERING)):
        message = f"the header holds {', '.join(numbers)}, and does not say that they are pseudonyms"
        yield Issue(severity="note", code="header-numbers", message=message)
    if str(value_of("BurnedInAnnotation")).upper() == "YES":
        yield Issue(severity="warning", code="burned-in-annotation", message="the header says BurnedInAnnotation YES")


def _identifying(value_of: Callable[[str], object], keywords: tuple[str, ...]) -> list[str]:
    values = {keyword: value_of(keyword) for keyword in keywords}
    return [keyword for keyword, value in values.items() if value is not None and not names_nobody(str(value))]
