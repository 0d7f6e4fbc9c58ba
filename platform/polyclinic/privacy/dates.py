"""Shift dates in running text by a number of days, in the format that they are written in.

English, German, French, Spanish and Italian names of months and weekdays are recognised. Text that looks like a date
and cannot be shifted is removed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from polyclinic.privacy.months import (
    MONTH,
    ROMAN,
    WEEKDAY,
    language_of,
    month_like,
    month_number,
    weekday_like,
)
from polyclinic.privacy.span import Span, matches, windows

DATE = "date"
_SPACE, _DASH, _QUOTE = "[ \u00a0\u202f]", "[-\u2010-\u2015\u2212]", "['\u2018\u2019\u02bc`\u00b4]"
_NAME = rf"(?P<name>{MONTH})(?![^\W\d_])\.?"
_YEAR = r"(?P<year>(?:1[89]|2[01])\d\d)(?!\d)"
_TWO = r"(?P<year>\d\d)(?!\d)"
_SUFFIX = r"(?P<suffix>(?:st|nd|rd|th|er|[ºª°])(?![^\W\d_]))?"
_LAST_SUFFIX = _SUFFIX.replace("suffix", "suffix2")
_DAY = rf"(?P<day>[0-3]?\d){_SUFFIX}"
_NO_LETTER = r"(?<![^\W\d_]-)"
_START, _END = r"(?<![\d/])(?<!\d[.,])", r"(?!\d|/\d|\.\d)"
_OF = r"(?:of[ ](?:the[ ])?|day[ ]of[ ]|de(?:l)?[ ](?:año[ ])?|di[ ]|d['\u2019])?"
_LOOSE = rf"(?:[\s,./\u00a0]|{_DASH}){{0,3}}{_OF}"
_WORDY = rf"[\s,.]{{1,3}}{_OF}"
# Units after numbers that are not dates, and words before numbers of versions and sections.
_NO_UNIT = r"(?!\s?(?:[mc]?m|ml|m?g|µg|ug|kg|l|mmol|mmhg|hz|bpm|ms|x|h|uhr)\b|\s?%|:\d)"
_NOT_NUMBERED = "".join(rf"(?<!\b{word}[ ])" for word in ("version", "release", "section", "kapitel", "chapter", "v"))
_ON = (
    "on|dated|since|until|from|am|vom|bis|seit|zum|ab|le|du|au|depuis|el|del|desde|hasta|il|dal|al|date|datum|fecha"
    "|data"
)
_IN = (
    "in|since|from|year|of|until|before|after|early|late|mid|spring|summer|autumn|fall|winter|seit|jahr|jahre|anno|ende"
    "|anfang|mitte|frühjahr|sommer|herbst|vor|nach|bis|ab|depuis|en|fin|début|desde|hasta|año|dal|nel|del|anno|printemps"
    "|été|automne|hiver|primavera|verano|otoño|invierno|estate|autunno|inverno"
)
_ORDINALS = (
    r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth"
    r"|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|twenty[- ](?:first|second|third|fourth|fifth|sixth|seventh"
    r"|eighth|ninth)|thirtieth|thirty[- ]first|premier|primero|primo|ersten?"
)

_WHOLE = (
    rf"(?<!\d){_YEAR}{_SPACE}?(?P<sep>[/._]|{_DASH}){_SPACE}?(?P<month>[01]?\d){_SPACE}?(?P=sep){_SPACE}?"
    r"(?P<day>[0-3]?\d)(?!\d)",
    rf"(?<!\d){_YEAR}{_SPACE}?[年년]{_SPACE}?(?P<month>[01]?\d){_SPACE}?[月월]{_SPACE}?(?P<day>[0-3]?\d){_SPACE}?[日일]",
    rf"{_START}(?P<first>[0-3]?\d){_SPACE}?(?P<sep>[/._]){_SPACE}?(?P<second>[0-3]?\d){_SPACE}?(?P=sep){_SPACE}?"
    rf"{_QUOTE}?{_YEAR}{_END}",
    rf"{_START}{_NOT_NUMBERED}(?P<first>[0-3]?\d)(?P<sep>[/._])(?P<second>[0-3]?\d)(?P=sep){_QUOTE}?{_TWO}{_END}{_NO_UNIT}",
    rf"{_START}(?<!\d{_DASH})(?P<first>[0-3]?\d){_SPACE}?(?P<sep>{_DASH}){_SPACE}?(?P<second>[0-3]?\d){_SPACE}?(?P=sep)"
    rf"{_SPACE}?(?:{_YEAR}|{_TWO.replace('year', 'brief')}){_END}(?!{_DASH}\d){_NO_UNIT}",
    rf"{_START}(?P<first>[0-3]\d){_SPACE}(?P<second>[0-3]\d){_SPACE}{_YEAR}{_END}",
    rf"{_START}{_NO_LETTER}{_DAY}{_LOOSE}{_NAME}{_LOOSE}{_QUOTE}?{_YEAR}",
    rf"{_START}{_NO_LETTER}{_DAY}(?P<sep>{_DASH}|/|[.]?{_SPACE}?){_NAME}(?:{_DASH}|/|{_SPACE}?{_QUOTE}?){_TWO}{_NO_UNIT}",
    rf"(?<![^\W_]){_NAME}{_LOOSE}{_DAY}(?:\s?(?:{_DASH}|and|to|&)\s?(?P<last>[0-3]?\d){_LAST_SUFFIX})?"
    rf"(?:[\s,]{{1,3}}|{_DASH}){_OF}{_YEAR}",
    rf"(?<![^\W_]){_NAME}{_LOOSE}{_DAY}(?:,{_SPACE}?{_QUOTE}?|{_SPACE}{_QUOTE}){_TWO}(?!:)",
    rf"(?<![\d./-]){_YEAR}(?:[ ./]|{_DASH})?{_NAME}(?:[ ./]|{_DASH})?{_DAY}(?![\d:])",
    rf"{_START}{_DAY}(?:[\s./]{{1,2}}|{_DASH})(?-i:(?P<name>{ROMAN}))(?:[\s./]{{1,2}}|{_DASH}){_YEAR}",
    r"(?<![\d.])(?P<year>(?:1[89]|2[01])\d\d)(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:[T_ ]?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?(?:\.\d{1,6})?)?(?!\d|\.\d)",
    rf"\b(?:{_ON})(?:[ ]|:[ ]?)(?P<date>(?P<first>[0-3]\d)(?P<second>[0-3]\d)(?P<year>19\d\d|20\d\d))(?!\d|[.,-]\d|\w)",
    rf"\b(?:{_ON})[ ](?P<date>(?P<first>[0-3]?\d)(?P<sep>\.)[ ](?P<second>[01]?\d)\.[ ]{_TWO}){_NO_UNIT}",
    rf"(?<![^\W_]){_NAME}{_WORDY}{_QUOTE}?{_YEAR}",
    rf"(?<![^\W_]){_NAME}(?:{_DASH}|/)?{_YEAR}",
    rf"(?<![^\W_]){_NAME}{_SPACE}?{_QUOTE}{_TWO}",
    rf"(?<![\d./-]){_YEAR}(?:[ ./]|{_DASH}){_NAME}(?!\w|[ ]?{_QUOTE}?\d)",
    rf"{_START}(?P<month>0?[1-9]|1[0-2]){_SPACE}?(?:/|{_DASH}){_SPACE}?{_YEAR}{_END}{_NO_UNIT}",
    rf"{_START}(?P<month>0[1-9]|1[0-2])\.{_YEAR}{_END}{_NO_UNIT}",
    rf"\b(?:im|am|in|{_ON})[ ](?P<date>(?P<month>[1-9])\.{_YEAR}){_END}{_NO_UNIT}",
    rf"(?<!\d)(?<!\d[.,]){_YEAR}(?:[/.]|{_DASH})(?P<month>0[1-9]|1[0-2]){_END}(?!{_DASH}\d){_NO_UNIT}",
)
_DIGIT, _MONTHS = re.compile(r"\d"), re.compile(rf"(?:{MONTH})(?![^\W\d_])|\b(?:{ROMAN})\b", re.IGNORECASE)
_MOVED = [re.compile(pattern.replace("brief", "year2"), re.IGNORECASE) for pattern in _WHOLE]

# A date without a year cannot be shifted; "may", "mar" and "set" are words too, and two numbers are often a grade.
_SAFE = r"(?-i:(?!(?:may|march|mar|set|mars|mag|ott|gen|ago|sett)\b))"
_BARE = r"(?P<date>[0-3]?\d/(?:0[1-9]|1[0-2])(?![\d/])|[0-3]?\d\.[01]?\d\.(?!\d))"
_NO_AMOUNT = r"(?![.,]\d|\d|[ \t]?(?:[mcg]|/)|[ ]?(?:ie|iu|i\.e|e|u|k|x|kcal|unit|einheit|leuk|thromb|zell|cell))"
_PARTIAL = (
    rf"(?<![^\W_])(?:{_ORDINALS})(?:[ ](?:day[ ])?(?:of|de|di))?[ ]{_SAFE}{_NAME}(?:,?[ ](?:de[ ])?{_YEAR})?",
    rf"{_START}{_DAY}{_LOOSE}{_SAFE}{_NAME}",
    rf"(?<![^\W_]){_SAFE}{_NAME}{_LOOSE}{_DAY}(?![\d/:])",
    r"\b(?:on|dated|since|until)[ ](?P<date>[0-3]?\d/[0-3]?\d)(?![\d/])",
    rf"\b(?:{_ON})[ ]{_BARE}",
    rf"^{_BARE}(?=[ ]?[:|])",
    rf"(?<![\d.,/])\d\d?/\d\d?{_SPACE}?{_DASH}{_SPACE}?\d\d?/{_YEAR}",
    rf"(?<![\d.,/-])(?P<date>\d\d?)(?={_SPACE}?{_DASH}{_SPACE}?(?:0?[1-9]|1[0-2])[/.]{_YEAR})",
    rf"(?<![^\W_])(?P<date>{MONTH})\.?(?=\s?(?:{_DASH}|/|bis|to|and|und|et|y|e|au?|al)\s?(?:{MONTH})\.?[ ]"
    rf"(?:de[ ])?{_YEAR})",
    rf"\b(?:{_IN})[ -](?P<date>(?:19[2-9]|20[0-4])\d(?:[/-](?:19|20)?\d\d)?){_NO_AMOUNT}",
    rf"\b(?:im|{_IN})[ ](?P<date>0[1-9]/\d\d)(?![\d/])",
    r"\b(?:dated|vom|date|datum)[ ](?P<date>\d{6})(?!\w)",
    rf"\b(?:KW|Q[1-4]|week|semaine|semana)[ ]?\d{{0,2}}(?:[ ]|/){_YEAR}",
)
_LEFT_OUT = [re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in _PARTIAL]

_TO = r"\s?(?:[-\u2010-\u2015&+]|/|\b(?:bis(?:[ ]zum)?|und|to|and|or|until|through|till|au|et|al|y|e|a)\b)\s?"
_LIST = rf"(?:{_TO}|,\s?)"
_ARTICLE = r"(?:(?:the|den|dem|le|el|il)[ ])?"
# Days before a date that share its month or its year.
_AHEAD_NUMBER = (
    r"(?<![\d/.,])(?<!\d-)(?P<first>[0-3]?\d)(?:(?P<sep>[./])(?:(?P<second>[0-3]?\d)(?P=sep)?)?)?{}" + _ARTICLE + "$"
)
_AHEAD_NAME = rf"(?<![\d/.,])(?<!\d-)(?P<day>[0-3]?\d){_SUFFIX}\.?(?:[ ](?:de[ ])?{_NAME})?{{}}{_ARTICLE}$"
_AHEAD_MONTH = rf"(?<![^\W_]){_NAME}[ ](?P<day>[0-3]?\d){_SUFFIX}{{}}$"
_AHEAD = {
    joint: [
        re.compile(pattern.replace("{}", between), re.IGNORECASE)
        for pattern in (_AHEAD_MONTH, _AHEAD_NAME, _AHEAD_NUMBER)
    ]
    for joint, between in (("first", _TO), ("more", _LIST))
}
_WEEKDAY_AHEAD = re.compile(rf"(?<![^\W_])(?P<weekday>{WEEKDAY})\.?,?\s{{1,2}}{_ARTICLE}$", re.IGNORECASE)
_WEEKDAY_BEHIND = re.compile(rf"\s?\((?P<weekday>{WEEKDAY})\.?\)", re.IGNORECASE)
_FARTHEST, _MOST_AHEAD = 40, 4


@dataclass(frozen=True)
class _Moving:
    """The shift of the dates of a text."""

    text: str
    days: int
    language: str

    def moved(self, day: date) -> date:
        return day + timedelta(self.days)


def date_spans(text: str, days: int) -> Iterator[Span]:
    """Yield every date with its replacement, the most exact first, and with its weekday and the range that it ends.

    In ``3/5/2024`` and ``3-5-2024`` the month is first, in ``3.5.2024`` the day, unless that is not a date; intervals
    are preserved except where day and month are confused. A day without a year, and a year after a preposition, become
    a gap.

    Args:
        text: text to search.
        days: shift in days, usually negative.
    """
    moving = _Moving(text, days, language_of(text))
    numbers, months = windows(_DIGIT, text), windows(_MONTHS, text)
    for pattern in _MOVED:
        for match in matches(pattern, text, months if "name" in pattern.groupindex else numbers):
            yield from _moved(match, moving)
    for pattern in _LEFT_OUT:
        for match in matches(pattern, text, months if "name" in pattern.groupindex else numbers):
            yield Span(*match.span("date" if "date" in pattern.groupindex else 0), DATE)


def _moved(match: re.Match[str], moving: _Moving) -> Iterator[Span]:
    """Yield the replacement of a date, with the text between its parts unchanged, and of its weekday and range."""
    parts = {group: part for group, part in match.groupdict().items() if part is not None}
    start, end = match.span("date") if "date" in parts else match.span()
    year_at = "year" if "year" in parts else "year2"
    day_at, month_at = _places(parts, match[0])
    try:
        before = date(_year(parts[year_at]), _month(parts[month_at]), int(parts[day_at]) if day_at else 1)
        after = moving.moved(before)
        replacements = _written(parts, after, moving, year_at, day_at, month_at)
        if "last" in parts:
            replacements |= _written_last(parts, moving.moved(before.replace(day=int(parts["last"]))), after, moving)
    except (ValueError, OverflowError):
        yield Span(start, end, DATE)
        return
    yield Span(start, end, DATE, _exchanged(match, start, end, replacements))
    if day_at:
        like = parts.get("name", "")
        yield from _ahead(start, before, moving, month_first=(day_at, month_at) == ("second", "first"), like=like)
        if weekday := _WEEKDAY_BEHIND.match(moving.text, end):
            yield Span(
                *weekday.span("weekday"), DATE, weekday_like(after.weekday(), weekday["weekday"], moving.language)
            )


def _exchanged(match: re.Match[str], start: int, end: int, replacements: dict[str, str]) -> str:
    text, place, pieces = match.string, start, list[str]()
    for group in sorted(replacements, key=match.start):
        pieces += [text[place : match.start(group)], replacements[group]]
        place = match.end(group)
    return "".join([*pieces, text[place:end]])


def _written(
    parts: dict[str, str], found: date, moving: _Moving, year_at: str, day_at: str, month_at: str
) -> dict[str, str]:
    """Return the replacement of each group of a match."""
    replacements = {year_at: f"{found.year % 100:02d}" if len(parts[year_at]) == 2 else f"{found.year:04d}"}
    replacements[month_at] = (
        _name(parts, found, moving) if month_at == "name" else _padded(found.month, parts[month_at], day_at)
    )
    if day_at:
        replacements[day_at] = _day(found.day, parts[day_at], parts[month_at])
    if "suffix" in parts:
        replacements["suffix"] = _suffix(found.day, parts["suffix"])
    return replacements


def _written_last(parts: dict[str, str], found: date, first: date, moving: _Moving) -> dict[str, str]:
    """Return the replacement of the last day of a range, as in ``January 12-14, 2021``."""
    day = _day(found.day, parts["last"], "")
    replacements = {"last": day if found.month == first.month else f"{_name(parts, found, moving)} {day}"}
    return replacements | ({"suffix2": _suffix(found.day, parts["suffix2"])} if "suffix2" in parts else {})


def _day(day: int, like: str, month: str) -> str:
    """Format a day: with a leading zero if the day had one, or if day and month both have two digits."""
    return f"{day:02d}" if like[0] == "0" or (len(like) == 2 and len(month) == 2 and month.isdecimal()) else f"{day}"


def _suffix(day: int, like: str) -> str:
    """Return the ordinal suffix of a day, as the original one would reveal the original day."""
    if like.lower() not in ("st", "nd", "rd", "th"):
        return like if day == 1 else ""
    ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return ending.upper() if like.isupper() else ending


def _padded(month: int, like: str, day_at: str) -> str:
    return f"{month}" if len(like) == 1 and not day_at else f"{month:02d}"


def _name(parts: dict[str, str], found: date, moving: _Moving) -> str:
    short = bool(parts.get("sep", " ").strip()) or parts.get("sep") == ""
    return month_like(found.month, parts["name"], moving.language, short=short)


def _places(parts: dict[str, str], text: str) -> tuple[str, str]:
    """Return the names of the groups of the day, empty where there is none, and of the month."""
    if "first" in parts:
        by_day = parts.get("sep") in (".", "_") or "sep" not in parts
        day_first = int(parts["second"]) <= 12 if by_day else int(parts["first"]) > 12
        return ("first", "second") if day_first else ("second", "first")
    return "day" if "day" in parts else "", "month" if "month" in parts else "name"


def _year(written: str) -> int:
    return int(written) + ((2000 if int(written) < 69 else 1900) if len(written) == 2 else 0)


def _month(written: str) -> int:
    return int(written) if written.isdecimal() else month_number(written)


def _ahead(start: int, before: date, moving: _Moving, *, month_first: bool, like: str) -> Iterator[Span]:
    """Yield days before a date that share its month or year (``12.-14. Januar 2021``), and the weekday before both."""
    for count in range(_MOST_AHEAD):
        found = _joined(moving.text, start, "more" if count else "first")
        if found is None:
            break
        parts = {group: part for group, part in found.groupdict().items() if part is not None}
        day_at, month_at = _places_ahead(parts, month_first=month_first)
        try:
            month = _month(parts[month_at]) if month_at else before.month
            earlier = date(before.year - (month > before.month), month, int(parts[day_at]))
            shown = moving.moved(before)
            replacements = _written_day(parts, moving.moved(earlier), shown, moving, day_at, month_at, like)
            stretch = (min(found.start(group) for group in replacements), start)
            yield Span(*stretch, DATE, _exchanged(found, *stretch, replacements))
        except (ValueError, OverflowError):
            break
        start, before = stretch[0], earlier
    window = max(0, start - _FARTHEST)
    if weekday := _WEEKDAY_AHEAD.search(moving.text[window:start]):
        name = weekday["weekday"]
        if len(name) > 2 or name[0].isupper():
            new_name = weekday_like(moving.moved(before).weekday(), name, moving.language)
            yield Span(window + weekday.start("weekday"), window + weekday.end("weekday"), DATE, new_name)


def _joined(text: str, start: int, joint: str) -> re.Match[str] | None:
    """Return the match of a day that ends right before a position; its positions are those of the full text."""
    for pattern in _AHEAD[joint]:
        for found in pattern.finditer(text, max(0, start - _FARTHEST), start):
            return found
    return None


def _places_ahead(parts: dict[str, str], *, month_first: bool) -> tuple[str, str]:
    if "first" not in parts:
        return "day", "name" if "name" in parts else ""
    if "second" not in parts:
        return "first", ""
    return ("second", "first") if month_first else ("first", "second")


def _written_day(
    parts: dict[str, str], found: date, shown: date, moving: _Moving, day_at: str, month_at: str, like: str
) -> dict[str, str]:
    """Return the replacement of a day before a date, with a month where the shift moves it to another one.

    Args:
        parts: groups of the day in the text.
        found: shifted day.
        shown: shifted date after it.
        moving: shift of the text.
        day_at: group of the day.
        month_at: group of the month, empty where there is none.
        like: name of the month after it, empty where that is a number.
    """
    replacements = {day_at: _day(found.day, parts[day_at], parts.get(month_at, ""))}
    if "suffix" in parts:
        replacements["suffix"] = _suffix(found.day, parts["suffix"])
    if month_at:
        name = month_at == "name"
        replacements[month_at] = (
            month_like(found.month, parts["name"], moving.language, short=False) if name else f"{found.month:02d}"
        )
    elif (found.month, found.year) != (shown.month, shown.year):
        month = f" {month_like(found.month, like, moving.language, short=False)}" if like else f"/{found.month:02d}"
        replacements[day_at] += f".{found.month:02d}" if parts.get("sep") == "." and not like else month
    return replacements
