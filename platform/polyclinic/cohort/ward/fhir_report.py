"""Text and accession number of FHIR reports."""

from base64 import b64decode
from collections.abc import Mapping
from email.message import Message
from typing import Any

from polyclinic.cohort.ward.left_out import NotUsed

_TEXTS = ("text/plain", "text/html", "application/xhtml+xml", "text/rtf", "application/rtf")
"""Types from which the report plugin takes the text, in the order of preference."""


def report_text(report: Any) -> str:
    """Return the text of a DiagnosticReport: that of ``presentedForm``, else its conclusion.

    Raises:
        NotUsed: it has none, or only a document that is not text.
    """
    forms = [(*_media_type(form.contentType or ""), form) for form in report.presentedForm or []]
    for wanted in _TEXTS:
        texts = [_decoded(form.data, charset) for kind, charset, form in forms if kind == wanted and form.data]
        if len(texts) > 1:
            raise NotUsed("ambiguous-text", "several forms of one type")
        if texts and texts[0].strip():
            return texts[0].strip()
    if (report.conclusion or "").strip():
        return str(report.conclusion).strip()
    raise NotUsed("document" if forms else "empty")


def refuse_broken_base64(report: Mapping[str, Any]) -> None:
    """Refuse a report whose data is not base64, as the model drops characters that do not belong into it.

    Args:
        report: a DiagnosticReport as JSON, which its model accepted.

    Raises:
        NotUsed: the data of a form is not base64.
    """
    for form in report.get("presentedForm") or []:
        try:
            b64decode("".join(str(form.get("data", "")).split()), validate=True)
        except ValueError:
            raise NotUsed("broken", "a report whose data is not base64") from None


def accession_of(resource: Any) -> str:
    """Return the accession number among the identifiers of a resource (type ``ACSN`` of HL7 table 0203)."""
    for each in resource.identifier or []:
        codes = {coding.code for coding in (each.type.coding or [] if each.type else [])}
        if "ACSN" in codes and each.value:
            return str(each.value).strip()
    return ""


def _media_type(content_type: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = " ".join(content_type.split())
    return message.get_content_type() if content_type else "", str(message.get_param("charset") or "utf-8")


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except (LookupError, UnicodeDecodeError):
        raise NotUsed("charset", "a report that is not of the character set of its contentType") from None
