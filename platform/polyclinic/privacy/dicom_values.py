"""Checks of DICOM values: each rule returns the values that may leave, and none where one of them fails (PS3.5 6.2)."""

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
    """What a plugin's DICOM library knows of the standard.

    Attributes:
        item: makes an empty dataset.
        keyword: gives the keyword of a tag, empty where the standard has none.
        sop_classes: registered SOP class UIDs.
        label: gives the name under which a channel may be written, empty for one that is not known.
    """

    item: Callable[[], Any]
    keyword: Callable[[int], str]
    sop_classes: Collection[str]
    label: Callable[[str], str] = lambda text: ""


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """One dataset on its way out: whose it is, and how often each rule changed or removed something."""

    identity: Identity
    standard: DicomStandard
    big_endian: bool
    removed: Counter[str] = field(default_factory=Counter)


Rule: TypeAlias = Callable[[Sequence[Any], Cleaning], list[Any]]
"""From all values of an element to those that may leave; none where the element is to be removed."""


def terms(allowed: str) -> Rule:
    """Defined terms, separated by commas; what follows the first unknown value is left out."""
    known = {term.strip() for term in allowed.split(",")}

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        found = [" ".join(str(value).upper().split()) for value in values]
        unknown = next((place for place, value in enumerate(found) if value not in known), len(found))
        return found[:unknown]

    return rule


def number(low: float, high: float, *, most: int = 1, exact: bool = False) -> Rule:
    """Finite numbers in a range that no register's number fits into.

    Args:
        low: smallest value.
        high: largest value.
        most: how many values the element may have.
        exact: whether the pixels or samples depend on every digit; otherwise six of them are kept.
    """

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        try:
            found = [float(str(value).replace(",", ".")) for value in values]
        except ValueError:
            return []
        if len(found) > most or not all(math.isfinite(one) and low <= one <= high for one in found):
            return []
        return [_written(one if exact else float(f"{one:.{_DIGITS}g}")) for one in found]

    return rule


def _written(value: float) -> float | int | str:
    """The shortest decimal string that is the same number; a whole number as one, which every VR of numbers takes."""
    return int(value) if value == int(value) else value


def whole(low: int, high: int, *, most: int = 1) -> Rule:
    """Whole numbers in a range."""
    inner = number(low, high, most=most, exact=True)

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        found = inner(values, cleaning)
        return found if all(isinstance(one, int) for one in found) else []

    return rule


def day(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """A DA, moved by the patient's days."""
    match = _DATE.fullmatch(str(values[0]).strip())
    moved = _moved(match, cleaning.identity) if match and len(values) == 1 else ""
    cleaning.removed["dates"] += bool(moved)
    return [moved] if moved else []


def day_and_time(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """A DT, moved by the patient's days; its time is cut to milliseconds."""
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
    """A TM as it is, cut to milliseconds."""
    match = _TIME.fullmatch(str(values[0]).strip())
    return ["".join(filter(None, match.groups()))] if match and len(values) == 1 else []


def _moved(match: re.Match[str], identity: Identity) -> str:
    try:
        moved = identity.moved(date(*map(int, match.groups())))
    except ValueError:
        return ""
    # Before the Gregorian calendar a year is a filler, or counted otherwise.
    return f"{moved:%Y%m%d}" if moved and int(match[1]) > 1582 else ""


def age(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """An AS; more than 90 years become 90 (45 CFR 164.514(b)(2))."""
    match = _AGE.fullmatch(str(values[0]).strip().upper())
    if match is None or len(values) > 1:
        return []
    old = match[2] == "Y" and int(match[1]) > _OLDEST
    cleaning.removed["ages"] += old
    return [f"{_OLDEST if old else int(match[1]):03d}{match[2]}"]


def uid(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """A UID of an instance, mapped by the key."""
    cleaning.removed["UIDs"] += len(values)
    return [cleaning.identity.uid(str(value)) for value in values]


def sop_class(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """A registered SOP class; any other UID is mapped, as its root may be that of a hospital."""
    if len(values) == 1 and str(values[0]) in cleaning.standard.sop_classes:
        return [str(values[0])]
    return uid(values, cleaning)


def orientation(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Directions of rows and columns (PS3.3 C.7.6.1.1.1)."""
    found = [str(value).strip().upper() for value in values]
    return found if len(found) == 2 and all(map(_ORIENTATION.fullmatch, found)) else []


def label(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """The name of a channel, as the plugin writes it."""
    found = [cleaning.standard.label(str(value)) for value in values]
    return found if len(found) == 1 and found[0] else []


def padding(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """One stored sample, as a number or as the bytes that some writers leave."""
    if isinstance(values[0], bytes):
        return list(values) if len(values) == 1 and len(values[0]) <= 4 else []
    return whole(-65_536, 65_535)(values, cleaning)


def sample_padding(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """One stored sample of a waveform as bytes, which its VR wants."""
    return [value if isinstance(value, bytes) else _two_bytes(value) for value in padding(values, cleaning)]


def _two_bytes(value: int) -> bytes:
    return (value % 65_536).to_bytes(2, "little")


def samples(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Bytes of which the plugin keeps what the header declares."""
    return list(values) if isinstance(values[0], bytes) else []
