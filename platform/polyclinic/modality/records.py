"""Clinical records, as the readers of ``polyclinic cohort ward`` return them: measurements and the texts of reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

RECORD_READERS = "polyclinic.records"
"""Entry-point group of readers of further formats; each is a ``RecordReader``."""

Precision: TypeAlias = Literal["second", "minute", "hour", "day"]
Standing: TypeAlias = Literal["final", "corrected", "preliminary", "withdrawn"]
"""Status of a result: ``withdrawn`` also removes what was sent earlier under its identity."""


_REST = {
    "second": timedelta(),
    "minute": timedelta(),
    "hour": timedelta(minutes=59, seconds=59),
    "day": timedelta(hours=23, minutes=59, seconds=59),
}


class PatientNumber(NamedTuple):
    """Id of a patient, and who issued it, which starts with the format; empty where it is not stated."""

    value: str
    authority: str = ""


class Moment(NamedTuple):
    """Point in time, as a record states it.

    Attributes:
        time: wall-clock time without a zone; the last second of an hour or a day that is stated without more.
        precision: smallest unit that was stated.
        offset: offset from UTC in minutes; None where none is stated.
    """

    time: datetime
    precision: Precision
    offset: int | None = None

    @classmethod
    def of(cls, stated: datetime, precision: Precision) -> "Moment":
        """Return a time as a record states it: a result must not be known before it was, and no zone is assumed.

        Args:
            stated: first instant of what was stated, with the stated offset if there is one.
            precision: smallest unit that was stated.
        """
        shift = stated.utcoffset()
        offset = None if shift is None else round(shift.total_seconds() / 60)
        return cls(stated.replace(tzinfo=None) + _REST[precision], precision, offset)


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """Value of a measurement: a number, or a text where it is not a plain number.

    Attributes:
        number: value in ``unit``.
        text: text or coded value; also a bound, a range or a ratio, as it was sent.
        comparator: ``<``, ``<=``, ``>`` or ``>=`` of a bound.
        coded: coded value, as ``SNOMED//260373001``.
        unit: unit as it was sent.
        unit_system: ``UCUM`` or the name of another system; empty where none is stated.
    """

    number: float | None = None
    text: str = ""
    comparator: str = ""
    coded: str = ""
    unit: str = ""
    unit_system: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceRange:
    """Range of values that the laboratory calls normal, in the unit of the value."""

    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What measurements and reports have in common.

    Attributes:
        patient: whose record it is; None where none is stated.
        identity: key that versions of one record share.
        version: ISO 8601 time of this version in UTC, or another text that sorts; empty where none is stated.
        standing: status.
        time: time of the specimen, the examination or the measurement; None where none is stated.
        available: time at which the result was issued; None where none is stated.
        sequence: order in which versions of a file were read; parts of one, such as two pressures, share it.
        supersedes: identities of other records that it replaces.
    """

    patient: PatientNumber | None
    identity: tuple[str, ...]
    version: str = ""
    sequence: int = 0
    supersedes: tuple[tuple[str, ...], ...] = ()
    standing: Standing = "final"
    time: Moment | None
    available: Moment | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement(Record):
    """One result.

    Attributes:
        code: what was measured, as ``LOINC//718-7``.
        value: value; None only in a withdrawn record.
        range: reference range.
    """

    code: str
    value: Value | None
    range: ReferenceRange = field(default_factory=ReferenceRange)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenReport(Record):
    """One report.

    Attributes:
        accession: accession number; empty where none is stated.
        text: its text.
    """

    accession: str
    text: str


@dataclass(frozen=True)
class Omission:
    """Part of a file that was not used: a reason of ``polyclinic.cohort.ward``, details without values, how many."""

    reason: str
    why: str = ""
    count: int = 1


@dataclass(kw_only=True)
class RecordFile:
    """Content of one file."""

    measurements: list[Measurement] = field(default_factory=list)
    reports: list[WrittenReport] = field(default_factory=list)
    omitted: list[Omission] = field(default_factory=list)


RecordReader: TypeAlias = Callable[[Path], RecordFile | None]
"""Function that reads a file, and returns None for one of another format; it may raise ``UnreadableSource``."""
