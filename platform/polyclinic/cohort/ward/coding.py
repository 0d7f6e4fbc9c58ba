"""Codes of what was measured, as ``SYSTEM//CODE``."""

_SYSTEMS = {
    "http://loinc.org": "LOINC",
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "LN": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "SCT": "SNOMED",
    "http://unitsofmeasure.org": "UCUM",
    "urn:oid:2.16.840.1.113883.6.8": "UCUM",
    "http://dicom.nema.org/resources/ontology/DCM": "DCM",
}
"""Names of systems by their URI (FHIR) and by their identifier in HL7 table 0396, which DICOM uses as well."""

_LOCAL, _TEXT = "local", "text"
_MAX_LENGTH = 200


def system_name(system: str) -> str:
    """Return the short name of a code system; one that is not listed stays as it was sent."""
    name = system.strip()
    return _SYSTEMS.get(name, "UCUM" if name.upper() == "UCUM" else name)


def code_of(code: str, system: str, text: str = "") -> str:
    """Return ``SYSTEM//CODE``, ``local//CODE`` without a system, ``text//TEXT`` without a code; empty without both."""
    code, text = " ".join(code.split())[:_MAX_LENGTH], " ".join(text.split())[:_MAX_LENGTH]
    if code:
        return f"{system_name(system) or _LOCAL}//{code}"
    return f"{_TEXT}//{text}" if text else ""


def preferred(codings: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the code and system to use of several for one concept: LOINC, else the first with a code."""
    coded = [(code, system) for code, system in codings if code.strip()]
    loinc = (pair for pair in coded if system_name(pair[1]) == "LOINC")
    return next(loinc, coded[0] if coded else ("", ""))
