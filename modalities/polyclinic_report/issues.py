"""What a person should know of a report: names in it, what is cut off, its encoding, damaged letters, too few words."""

import re
from collections.abc import Iterator, Mapping

from polyclinic.modality import Issue, Source, identifying_fields
from polyclinic_report.reading.document import Document, read_source

_TRUNCATED_SHARE = 0.01
_FEWEST_WORDS = 3
# UTF-8 that was once read as cp1252 or Latin-1 and stored again: a lead byte's letter before a continuation byte's.
_MISREAD = re.compile("[\xc2\xc3][\x80-\xbf]|\xe2(?:\x80|\u20ac)")
_STATED = ("inline", "utf-8", "utf-16", "utf-32")
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def report_issues(
    source: Source, raw: Document, facts: Mapping[str, float | str], *, encoding: str | None = None
) -> Iterator[Issue]:
    """What ``Inspectable.issues`` asks for; identifiers are looked for in the whole text, not in a section alone.

    Args:
        source: of the report.
        raw: what was read of it.
        facts: what is described of it.
        encoding: that the plugin was given.
    """
    text = read_source(source, encoding).text
    if (found := str(facts["encoding"])) not in (*_STATED, encoding):
        message = f"its bytes are not UTF-8 and were found to be {found}: set `encoding` to be sure"
        yield Issue(severity="note", code="detected-encoding", message=message)
    if kinds := identifying_fields(text):
        yield Issue(severity="warning", code="identifiers", message=f"the text seems to hold {', '.join(kinds)}")
    if facts.get("truncated"):
        message = f"{facts['tokens']:g} tokens, the last of which are cut off: set `max_tokens` or `section`"
        yield Issue(severity="warning", code="truncated", message=message, tolerated=_TRUNCATED_SHARE)
    if facts.get("section") == "missing":
        yield Issue(severity="note", code="no-section", message="without a heading of the section, so it is read whole")
    if len(re.findall(r"[^\W\d_]+", raw.text)) < _FEWEST_WORDS:
        yield Issue(
            severity="warning",
            code="hardly-any-words",
            message=f"fewer than {_FEWEST_WORDS} words are left to learn from",
        )
    if damaged := len(_MISREAD.findall(text)) + text.count(_REPLACED):
        yield Issue(
            severity="warning",
            code="damaged-letters",
            message=f"{damaged} letters were lost or doubled where the text was once decoded by another encoding",
        )
