"""Rules of DICOM values: each returns the values that may leave, and none where one of them fails (PS3.5 6.2)."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeAlias

from polyclinic.privacy.identity import Identity

_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME = re.compile(r"((?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60))?)?)(\.\d{1,3})?\d{0,3}")
_ZONE = re.compile(r"[+-](?:0\d|1[0-4])[0-5]\d")
_AGE = re.compile(r"(\d{1,3})([YMWD])")
_ORIENTATION = re.compile(r"(?!.*(.).*\1)[LRAPHF]{1,3}")
_OLDEST = 90
_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class DicomStandard:
    """The DICOM standard, as the library of a plugin knows it.

    Attributes:
        item: factory of an empty dataset.
        keyword: function from a tag to its keyword, empty where the standard has none.
        sop_classes: registered SOP class UIDs.
        label: function from the text of a channel to its standard name, empty for an unknown channel.
    """

    item: Callable[[], Any]
    keyword: Callable[[int], str]
    sop_classes: Collection[str]
    label: Callable[[str], str] = lambda text: ""


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """The state of de-identifying a dataset: the identity, and the number of changes and removals by rule."""

    identity: Identity
    standard: DicomStandard
    big_endian: bool
    removed: Counter[str] = field(default_factory=Counter)


Rule: TypeAlias = Callable[[Sequence[Any], Cleaning], list[Any]]
"""Function from all values of an element to those that may leave; empty where the element is removed."""


def terms(allowed: str) -> Rule:
    """Make a rule for defined terms, separated by commas; the first unknown value and those after it are removed."""
    known = {term.strip() for term in allowed.split(",")}

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        found = [" ".join(str(value).upper().split()) for value in values]
        unknown = next((place for place, value in enumerate(found) if value not in known), len(found))
        return found[:unknown]

    return rule


def number(low: float, high: float, *, most: int = 1, exact: bool = False) -> Rule:
    """Make a rule for finite numbers in a range that is too narrow for record numbers.

    Args:
        low: smallest value.
        high: largest value.
        most: largest number of values.
        exact: whether pixels or samples depend on every digit; otherwise six significant digits remain.
    """

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        try:
            found = [float(str(value).replace(",", ".")) for value in values]
        except ValueError:
            return []
        if len(found) > most or not all(math.isfinite(value) and low <= value <= high for value in found):
            return []
        return [_written(value if exact else float(f"{value:.{_DIGITS}g}")) for value in found]

    return rule


def _written(value: float) -> float | int | str:
    """Return a whole number as an integer, which every VR of numbers accepts, and any other number unchanged."""
    return int(value) if value == int(value) else value


def whole(low: int, high: int, *, most: int = 1) -> Rule:
    """Make a rule for whole numbers in a range."""
    inner = number(low, high, most=most, exact=True)

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        found = inner(values, cleaning)
        return found if all(isinstance(value, int) for value in found) else []

    return rule


def day(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Shift a date (DA) by the days of the patient."""
    match = _DATE.fullmatch(str(values[0]).strip())
    moved = _moved(match, cleaning.identity) if match and len(values) == 1 else ""
    cleaning.removed["dates"] += bool(moved)
    return [moved] if moved else []


def day_and_time(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Shift a date and time (DT) by the days of the patient; the time is cut to milliseconds."""
    text = str(values[0]).strip()
    match = _DATE.match(text)
    moved = _moved(match, cleaning.identity) if match and len(values) == 1 else ""
    if not match or not moved:
        return []
    cleaning.removed["dates"] += 1
    rest = text[match.end() :]
    zone = _ZONE.search(rest) if rest[-5:-4] in ("+", "-") else None
    clock = _TIME.fullmatch(rest[: zone.start()] if zone else rest)
    return [moved + "".join(filter(None, clock.groups())) + (zone[0] if zone else "") if clock else moved]


def time(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return a time (TM), cut to milliseconds."""
    match = _TIME.fullmatch(str(values[0]).strip())
    return ["".join(filter(None, match.groups()))] if match and len(values) == 1 else []


def _moved(match: re.Match[str], identity: Identity) -> str:
    try:
        moved = identity.moved(date(*map(int, match.groups())))
    except ValueError:
        return ""
    # A year before the Gregorian calendar is a filler, or counted differently.
    return f"{moved:%Y%m%d}" if moved and int(match[1]) > 1582 else ""


def age(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Cap an age (AS) at 90 years (45 CFR 164.514(b)(2))."""
    match = _AGE.fullmatch(str(values[0]).strip().upper())
    if match is None or len(values) > 1:
        return []
    old = match[2] == "Y" and int(match[1]) > _OLDEST
    cleaning.removed["ages"] += old
    return [f"{_OLDEST if old else int(match[1]):03d}{match[2]}"]


def uid(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Map the UIDs of instances with the key."""
    cleaning.removed["UIDs"] += len(values)
    return [cleaning.identity.uid(str(value)) for value in values]


def sop_class(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return a registered SOP class; any other UID is mapped, as its root may be that of a hospital."""
    if len(values) == 1 and str(values[0]) in cleaning.standard.sop_classes:
        return [str(values[0])]
    return uid(values, cleaning)


def orientation(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return the directions of rows and columns (PS3.3 C.7.6.1.1.1)."""
    found = [str(value).strip().upper() for value in values]
    return found if len(found) == 2 and all(map(_ORIENTATION.fullmatch, found)) else []


def label(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return the standard name of a channel."""
    found = [cleaning.standard.label(str(value)) for value in values]
    return found if len(found) == 1 and found[0] else []


def padding(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return one stored sample, as a number or as the bytes that some writers store."""
    if isinstance(values[0], bytes):
        return list(values) if len(values) == 1 and len(values[0]) <= 4 else []
    return whole(-65_536, 65_535)(values, cleaning)


def sample_padding(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return one stored sample of a waveform as bytes, which its VR requires."""
    return [value if isinstance(value, bytes) else _two_bytes(value) for value in padding(values, cleaning)]


def _two_bytes(value: int) -> bytes:
    return (value % 65_536).to_bytes(2, "little")


def samples(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Return the sample bytes, of which the plugin writes as many as the header declares."""
    return list(values) if isinstance(values[0], bytes) else []
