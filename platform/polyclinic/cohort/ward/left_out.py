"""What a ward's files hold that is not used, by reason."""

from collections import Counter, defaultdict
from typing import Any

REASONS = {
    "ambiguous-patient": "its patient number was issued to several patients by several authorities, or its reference "
    "leads to several patients: state the assigning authority, or import the files one by one",
    "ambiguous-text": "several forms of one report, or lines that cannot all be read: export it as one text",
    "archive": "an archive, which is not read: unpack it inside the folder",
    "archive-climbs-out": "an archive whose members would be written outside its folder: do not unpack it",
    "broken": "cut off, or not of the form that its standard asks for",
    "charset": "bytes or characters that are not of its character set, which HL7 v2 declares in MSH-18: correct it",
    "document": "a report that is a PDF, an image or a link: export its text",
    "duplicate": "the same record again",
    "empty": "a file or a report without any content",
    "hidden": "a hidden file, or one that a desktop left behind",
    "link": "a link to a place inside the folder, which is read there",
    "link-leaves-folder": "a link that leads out of the folder, or nowhere",
    "not-a-file": "neither a file nor a folder, such as a socket",
    "not-a-record": "neither FHIR JSON, nor HL7 v2, nor a format of an installed reader",
    "not-final": "preliminary or registered: it is used once it is final",
    "other-document": "a structured report of another kind, such as a key object selection",
    "other-message": "a message of another kind than ORU^R01",
    "other-resource": "a resource of another kind, which is not needed",
    "out-of-range": "a number that does not fit into 32 bits, in which models compute",
    "replaced": "an earlier version of a corrected record",
    "research": "a result of research, which is not part of the patient's record",
    "test-message": "a message of training or debugging, as MSH-11 states",
    "too-large": "larger than what is read at once: split it, or export NDJSON",
    "unknown-subject": "its reference does not lead to a patient in the folder: add the Patient resources",
    "unreadable": "it cannot be opened or read",
    "unreadable-folder": "a folder without permission to list it",
    "unsupported-value": "a value of a kind that has no number and no text, such as sampled data or an attachment",
    "unusable-name": "a file name of spaces at its ends, or of characters that are not text",
    "without-code": "it does not state what was measured",
    "without-order": "an OBX segment before any OBR segment",
    "without-patient": "it states no patient",
    "without-time": "it states no time, only a year or a month, or a year before 1700 or after 2200",
    "without-value": "a result without a value, such as one that could not be obtained",
    "withdrawn": "withdrawn by its sender: cancelled, deleted or entered in error",
}
"""What a person should know or do, by reason."""

_MAX_LISTED = 100


class NotUsed(Exception):
    """Raised inside a reader for a part of a file that is not used.

    Args:
        reason: one of ``REASONS``.
        why: details without values.
    """

    def __init__(self, reason: str, why: str = "") -> None:
        super().__init__(reason, why)
        self.reason, self.why = reason, why


class LeftOut:
    """Count what is left out by reason, and list the files it is in."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._places: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)

    def add(self, reason: str, path: str, why: str = "", count: int = 1) -> None:
        """Add parts of a file, with what its reader said about them."""
        assert reason in REASONS, reason
        self._counts[reason] += count
        self._places[reason][path, why] += count

    def counts(self) -> dict[str, int]:
        """Return the number of parts or files by reason."""
        return dict(sorted(self._counts.items()))

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values: count, advice, and the first hundred places by reason."""
        return {reason: self._entry(reason, count) for reason, count in self.counts().items()}

    def _entry(self, reason: str, count: int) -> dict[str, Any]:
        places = sorted(self._places[reason].items())
        listed = [
            {"path": path, "count": number} | ({"why": why} if why else {})
            for (path, why), number in places[:_MAX_LISTED]
        ]
        return {"count": count, "advice": REASONS[reason], "places": len(places), "listed": listed}
