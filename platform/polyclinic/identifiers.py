"""What in a header or a text is likely to name a patient; found by its label, and never repeated."""

import re
from collections.abc import Callable, Iterator

from polyclinic.concern import Concern

# PS3.15 table E.1-1, as far as a person is named or can be reached by it.
_NAMING = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "ResponsiblePerson"),
    *("PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
)
# A hospital's register leads from these to a person; in research data they are often pseudonyms.
_NUMBERING = ("PatientID", "OtherPatientIDs", "AccessionNumber")
_FREE = ("PatientComments", "ImageComments", "AdditionalPatientHistory")

_HASH = re.compile(r"[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PSEUDONYM = re.compile(
    r"anon|pseudo|de-?id|removed|redacted|withheld|unknown|phantom|synthetic|not (?:known|stated|available)",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(r"(?:[\W_x0]|n/?a|none|nil)*", re.IGNORECASE)
# Where de-identified text has a gap, the next label may follow in the same line.
BLANKED = re.compile(r"_{2,}|\[\*\*|<[^>]*>|\{[^}]*\}")

_START = r"^[^\w\n]{0,20}"
_VALUE = r"(?:[ \t]{1,4}(?:is|was))?[ \t]{0,20}[:=#]([^\n;|]*)"
_NUMBERED = (
    "medical record(?: (?:number|no))?|hospital (?:number|no)|unit (?:number|no)|nhs(?: (?:number|no))?"
    r"|m\.?r\.?n|patient[ _]?(?:id|number|no)|case (?:number|no)|accession(?: (?:number|no))?"
)
_BIRTH = r"d\.?o\.?b\.?|date[ _]of[ _]birth|birth[ _]?(?:date|day)|born"
_PATTERNS = {
    "name": rf"(?:{_START}(?:(?:full|last|first|given|family|sur)[ _-]?)?name|\bpatient(?:['’]?s)?[ _]?name){_VALUE}",  # noqa: RUF001
    "date of birth": rf"\b(?:{_BIRTH})(?:{_VALUE}|[ \t]+(?:on )?(\d+))",
    "record number": rf"\b(?:{_NUMBERED})\b\.?(?:{_VALUE}|[ \t]+(\d+))",
    "address": rf"(?:{_START}|\b(?:home|patient|postal|e-?mail)[ _])address{_VALUE}",
    "telephone": rf"\b(?:tele)?phone(?: (?:number|no))?\b\.?{_VALUE}",
}
LABELS = {kind: re.compile(pattern, re.IGNORECASE | re.MULTILINE) for kind, pattern in _PATTERNS.items()}
_SHAPES: dict[str, re.Pattern[str]] = {
    "name": re.compile(r"\b[A-Z][^\W\d_]{1,40}\^[A-Z][^\W\d_]{0,40}"),
    "address": re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,64}\.[a-z]{2,10}\b", re.IGNORECASE),
    "social security number": re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"),
}


def names_nobody(value: str) -> bool:
    """Whether the value of an identifying field is blank, a filler (``___``, ``n/a``), a pseudonym or a hash."""
    text = value.strip()
    return bool(_NO_VALUE.fullmatch(text) or _HASH.fullmatch(text) or _PSEUDONYM.search(text))


def identifying_fields(text: str) -> list[str]:
    """Kinds of identifiers that a text seems to hold, such as ``date of birth``; never their values.

    Looks for labels with a value (``Name: ...``, ``MRN 123``) and for shapes (``DOE^JOHN``, an e-mail address, a US
    social security number). A name in running text is missed; so is any label that is not English.
    """
    found = {kind for kind, pattern in LABELS.items() if any(map(_has_value, pattern.finditer(text)))}
    for kind, pattern in _SHAPES.items():
        if any(not names_nobody(match[0]) for match in pattern.finditer(text)):
            found.add(kind)
    return sorted(found)


def dicom_concerns(value_of: Callable[[str], object]) -> Iterator[Concern]:
    """What a DICOM header tells of a person, by the keywords of its elements.

    Args:
        value_of: gives the value of an element by its keyword, None where it is absent.
    """
    named = _told(value_of, _NAMING)
    free = {keyword: identifying_fields(str(value_of(keyword))) for keyword in _FREE}
    named += [f"{keyword} ({', '.join(kinds)})" for keyword, kinds in free.items() if kinds]
    if named:
        said = f"the header names a person in {', '.join(named)}"
        yield Concern(severity="warning", code="header-identifiers", said=said)
    if str(value_of("PatientIdentityRemoved")).upper() != "YES" and (numbers := _told(value_of, _NUMBERING)):
        said = f"the header holds {', '.join(numbers)}, and does not say that they are pseudonyms"
        yield Concern(severity="note", code="header-numbers", said=said)
    if str(value_of("BurnedInAnnotation")).upper() == "YES":
        yield Concern(severity="warning", code="burned-in-annotation", said="the header says BurnedInAnnotation YES")


def _told(value_of: Callable[[str], object], keywords: tuple[str, ...]) -> list[str]:
    values = {keyword: value_of(keyword) for keyword in keywords}
    return [keyword for keyword, value in values.items() if value is not None and not names_nobody(str(value))]


def _has_value(match: re.Match[str]) -> bool:
    values = [value.strip().partition("  ")[0] for value in match.groups() if value is not None]
    return any(not BLANKED.match(value) and not names_nobody(value) for value in values)
