"""Issues of a report: identifiers, truncation, a detected encoding, damaged letters, too few words."""

import re
from collections.abc import Iterator, Mapping

from polyclinic.modality import Issue, Source, identifying_fields
from polyclinic_report.reading.document import Document, read_source

_MAX_TRUNCATED_SHARE = 0.01
_MIN_WORDS = 3
# Mojibake, UTF-8 decoded as cp1252 or Latin-1: the letter of a lead byte before that of a continuation byte.
_MOJIBAKE = re.compile("[\xc2\xc3][\x80-\xbf]|\xe2(?:\x80|\u20ac)")
_CERTAIN_ENCODINGS = ("inline", "utf-8", "utf-16", "utf-32")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def report_issues(
    source: Source, raw: Document, facts: Mapping[str, float | str], *, encoding: str | None = None
) -> Iterator[Issue]:
    """Yield the issues of a report; identifiers are searched in the complete text, not only in the section.

    Args:
        source: source of the report.
        raw: decoded report.
        facts: result of ``describe``.
        encoding: setting of the plugin.
    """
    text = read_source(source, encoding).text
    if (name := str(facts["encoding"])) not in (*_CERTAIN_ENCODINGS, encoding):
        message = f"the file is not UTF-8 and was detected as {name}; set `encoding` to be certain"
        yield Issue(severity="note", code="detected-encoding", message=message)
    if kinds := identifying_fields(text):
        yield Issue(severity="warning", code="identifiers", message=f"the text seems to hold {', '.join(kinds)}")
    if facts.get("truncated"):
        message = f"the last of {facts['tokens']:g} tokens are cut off; set `max_tokens` or `section`"
        yield Issue(severity="warning", code="truncated", message=message, tolerated=_MAX_TRUNCATED_SHARE)
    if facts.get("section") == "missing":
        message = "no heading of the section, so the complete report is read"
        yield Issue(severity="note", code="no-section", message=message)
    if len(re.findall(r"[^\W\d_]+", raw.text)) < _MIN_WORDS:
        yield Issue(
            severity="warning",
            code="hardly-any-words",
            message=f"fewer than {_MIN_WORDS} words",
        )
    if damaged := len(_MOJIBAKE.findall(text)) + text.count(_REPLACEMENT):
        yield Issue(
            severity="warning",
            code="damaged-letters",
            message=f"{damaged} damaged letters, from an earlier decoding with the wrong encoding",
        )
