"""Likely identifiers of a patient in a header or a text, found by their labels and reported without their values."""

import re

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
    """Return whether an identifying field is blank or holds a filler (``___``, ``n/a``), a pseudonym or a hash."""
    text = value.strip()
    return bool(_NO_VALUE.fullmatch(text) or _HASH.fullmatch(text) or _PSEUDONYM.search(text))


def identifying_fields(text: str) -> list[str]:
    """Return the kinds of identifiers that a text seems to hold, such as ``date of birth``, never their values.

    Looks for labels with a value (``Name: ...``, ``MRN 123``) and for shapes (``DOE^JOHN``, an e-mail address, a US
    social security number). A name in running text is missed; so is any label that is not English.
    """
    found = {kind for kind, pattern in LABELS.items() if any(map(_has_value, pattern.finditer(text)))}
    for kind, pattern in _SHAPES.items():
        if any(not names_nobody(match[0]) for match in pattern.finditer(text)):
            found.add(kind)
    return sorted(found)


def _has_value(match: re.Match[str]) -> bool:
    values = [value.strip().partition("  ")[0] for value in match.groups() if value is not None]
    return any(not BLANKED.match(value) and not names_nobody(value) for value in values)
