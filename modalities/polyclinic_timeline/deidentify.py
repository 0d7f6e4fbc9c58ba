"""De-identify events: shift their times, and write only codes, numbers, units and texts that name nobody."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from polyclinic.modality import (
    Cleaned,
    Identity,
    UnreadableSource,
    capped_age,
    holds_age,
    holds_birth,
    identifying_fields,
    labelled_names,
)
from polyclinic_timeline.course import Course

_LONGEST_LEVEL = 40
_MIN_RECORD_NUMBER = 1e7
"""From here on a whole number is taken for a date, telephone number or record number, not for a measurement."""

_BIRTH_CODES = ("meds_birth",)
_TEXT, _EVENT = "texts", "events whose code may name somebody"


def course_names(course: Course) -> list[str]:
    """Return names of persons in events that are labelled as such."""
    pairs = zip(course.codes, course.texts, strict=True)
    return labelled_names("\n".join(f"{code}: {text}" for code, text in pairs if text))


def write_clean_course(course: Course, out: Path, identity: Identity) -> Cleaned:
    """Write events as CSV with shifted times; the time of the study is shifted with them.

    Births are left out, ages over 89 become 90, and whole numbers of eight digits or more are left out, because no
    measurement has as many. Free text is left out: only texts of at most 40 characters without a digit pattern, label
    or known name remain.

    Raises:
        UnreadableSource: the shifted times are out of range, or no event remains.
    """
    removed, rows = Counter[str](), list[Sequence[str]]()
    shift = timedelta(days=identity.days)
    try:
        anchor = course.anchor + shift
        times = [anchor + timedelta(hours=float(hour)) for hour in course.hours]
    except OverflowError:
        raise UnreadableSource("a shifted time is out of range, expected times of this or the last century") from None
    for place, time in enumerate(times):
        event = _clean_event(course, place, identity, removed)
        if event is not None:
            stamp = time.isoformat(sep="T", timespec="microseconds")
            rows.append([stamp, *event, anchor.isoformat() if course.anchored else ""])
    if not rows:
        raise UnreadableSource("no event remains without identifiers")
    header = ["time", "code", "value", "text", "unit", "reference_low", "reference_high"]
    width = len(header) + course.anchored
    target = out.with_name(f"{out.name}.csv")
    with target.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[*header, "anchor"][:width], *(row[:width] for row in rows)])
    return Cleaned(source=target, removed={**+removed, "dates": len(rows)})


def _clean_event(course: Course, place: int, identity: Identity, removed: Counter[str]) -> list[str] | None:
    """Return code, value, text, unit and range of an event as text; None where the event is left out."""
    code, text = course.codes[place], course.texts[place]
    value = _number(float(course.values[place]))
    if code.casefold() in _BIRTH_CODES or holds_birth(code, [value, text]):
        removed["dates of birth"] += 1
        return None
    if _may_name(code, identity):
        removed[_EVENT] += 1
        return None
    if holds_age(code) and value and (capped := capped_age(code, value)) is not None:
        removed["ages"] += 1
        value = capped
    if value and abs(float(value)) >= _MIN_RECORD_NUMBER and float(value).is_integer():
        removed["numbers too long for a measurement"] += 1
        value = ""
    if text and (len(text) > _LONGEST_LEVEL or _may_name(text, identity)):
        removed[_TEXT] += 1
        text = ""
    unit = course.units[place]
    if _may_name(unit, identity):
        removed[_TEXT] += 1
        unit = ""
    return [code, value, text, unit, _number(float(course.low[place])), _number(float(course.high[place]))]


def _may_name(text: str, identity: Identity) -> bool:
    """Return whether a text holds an identifier, a date, or a known name."""
    return bool(text) and (identity.is_named_in(text) or bool(identity.text(text)[1]) or bool(identifying_fields(text)))


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value).removesuffix(".0")
