"""Dates in running text, moved by a number of days; what is like a date and cannot be moved is left out."""

import re
from calendar import month_abbr, month_name
from collections.abc import Iterator
from datetime import date, timedelta

from polyclinic.deidentify.span import GAP, Span

_MONTH = (
    r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_YEAR = r"(?P<year>(?:19|20|21)\d\d)(?!\d)"
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_START, _END = r"(?<![\d/.-])(?<!\d,)", r"(?!\d|[/-]\d|\.\d)"
_SEPARATOR = r"[ \t,/-]{1,3}(?:of[ \t])?"

_WHOLE = (
    rf"{_START}(?P<year>(?:19|20|21)\d\d)([-/.])(?P<month>[01]?\d)\2(?P<day>[0-3]?\d)(?!\d)",
    rf"{_START}(?P<first>[0-3]?\d)([-/.])(?P<second>[0-3]?\d)\2(?P<year>(?:19|20|21)\d\d|\d\d){_END}",
    rf"{_START}{_DAY}{_SEPARATOR}{_MONTH}{_SEPARATOR}{_YEAR}",
    rf"\b{_MONTH}{_SEPARATOR}{_DAY}{_SEPARATOR}{_YEAR}",
    r"(?<![\d.])(?P<year>(?:19|20|21)\d\d)(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12]\d|3[01])(?![\d.])",
)
_MOVED = [re.compile(pattern, re.IGNORECASE) for pattern in (*_WHOLE, rf"\b{_MONTH}{_SEPARATOR}{_YEAR}")]

# Without a year nothing can be moved; "may" is too often a verb, and two numbers too often a grade.
_NO_VERB = r"(?-i:(?!may\b|march\b))"
_PARTIAL = (
    rf"{_START}{_DAY}{_SEPARATOR}{_NO_VERB}{_MONTH}",
    rf"\b{_NO_VERB}{_MONTH}{_SEPARATOR}{_DAY}(?![\d/])",
    r"(?<=\bon )[01]?\d/[0-3]?\d(?![\d/])|(?<=\bdated )[01]?\d/[0-3]?\d(?![\d/])",
    r"(?<=\bsince )[01]?\d/[0-3]?\d(?![\d/])|(?<=\buntil )[01]?\d/[0-3]?\d(?![\d/])",
    r"(?:(?<=\bin )|(?<=\bsince )|(?<=\bfrom )|(?<=\byear )|(?<=\bof ))(?:19|20)\d\d(?![\d.,]\d|\d|[ \t]?(?:m|c|g|/))",
)
_LEFT_OUT = [re.compile(pattern, re.IGNORECASE) for pattern in _PARTIAL]


def date_spans(text: str, days: int) -> Iterator[Span]:
    """Every date with what it becomes, the most exact first.

    In ``3/5/2024`` and ``3-5-2024`` the month is first, in ``3.5.2024`` the day, unless that is no date; intervals hold
    either way but for a month that is a day. A day without a year, and a year after a preposition, become a gap.

    Args:
        text: to look at.
        days: by which to move, usually negative.
    """
    for pattern in _MOVED:
        for match in pattern.finditer(text):
            yield Span(*match.span(), "date", _moved(match, days))
    for pattern in _LEFT_OUT:
        for match in pattern.finditer(text):
            yield Span(*match.span(), "date", GAP)


def _moved(match: re.Match[str], days: int) -> str:
    """The match with its numbers and names exchanged, everything between them as it was."""
    parts = match.groupdict()
    day_at, month_at = _places(parts, match[0])
    try:
        year = int(parts["year"]) + ((2000 if int(parts["year"]) < 69 else 1900) if len(parts["year"]) == 2 else 0)
        month = _month(parts["name"]) if month_at == "name" else int(parts[month_at])
        found = date(year, month, int(parts[day_at]) if day_at else 1) + timedelta(days)
    except (ValueError, OverflowError):
        return GAP
    said = {"year": f"{found.year % 100:02d}" if len(parts["year"]) == 2 else f"{found.year}"}
    said[month_at] = _name(found.month, match["name"]) if month_at == "name" else f"{found.month:02d}"
    if day_at:
        said[day_at] = f"{found.day:02d}" if len(parts[day_at]) == 2 else f"{found.day}"
    text, start = match[0], match.start()
    for group in sorted(said, key=match.start, reverse=True):
        text = text[: match.start(group) - start] + said[group] + text[match.end(group) - start :]
    return text


def _places(parts: dict[str, str], text: str) -> tuple[str, str]:
    """Which groups are the day, empty where there is none, and the month."""
    if "first" in parts:
        day_first = int(parts["second"]) <= 12 if "." in text else int(parts["first"]) > 12
        return ("first", "second") if day_first else ("second", "first")
    return "day" if "day" in parts else "", "month" if "month" in parts else "name"


def _month(name: str) -> int:
    return [short.lower() for short in month_abbr].index(name[:3].lower())


def _name(month: int, like: str) -> str:
    name = month_name[month] if len(like) > 4 or like.lower() in ("june", "july") else month_abbr[month]
    return name.upper() if like.isupper() else name.lower() if like.islower() else name
