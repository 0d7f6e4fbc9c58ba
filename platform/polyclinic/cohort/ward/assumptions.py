"""What a person should check in the results of a ward."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from polyclinic.modality import Measurement, Record, WrittenReport


def list_assumptions(
    measurements: Sequence[tuple[str, Measurement]],
    reports: Sequence[tuple[str, WrittenReport]],
    zone: ZoneInfo | None,
) -> list[dict[str, Any]]:
    """Return sentences with the number of records or codes that each concerns, without those of none.

    Args:
        measurements: id of the patient, and the result.
        reports: id of the patient, and the report.
        zone: zone of the hospital; None where it is not set.
    """
    records = [each for _, each in (*measurements, *reports)]
    values = [each.value for _, each in measurements if each.value is not None]
    coarse = sum(each.time is not None and each.time.precision in ("hour", "day") for each in records)
    unissued = sum(each.available is None for _, each in measurements)
    early = sum(_is_early(each) for each in records)
    units = _units(measurements)
    entries = [
        ("times of a day or an hour, which stand at its last second", coarse),
        ("results that do not state when they were issued, at the time of their specimen", unissued),
        ("records issued before the time of their specimen or examination, whose later time is used", early),
        ("patients with times in several zones or some without one; set --zone to order them", _mixed(
            measurements, reports) if zone is None else 0),
        ("results without a unit", sum(value.number is not None and not value.unit for value in values)),
        ("results in units that their sender does not call UCUM, which stay as they are", sum(
            bool(value.unit) and value.unit_system != "UCUM" for value in values)),
        ("codes with results in several units, which no one converts", sum(len(each) > 1 for each in units.values())),
        ("codes of no system that others know, such as LOINC", sum(_is_local(code) for code in units)),
        ("results that are bounds such as <0.1, which stay text", sum(bool(value.comparator) for value in values)),
    ]  # fmt: skip
    return [{"assumption": text, "count": count} for text, count in entries if count]


def _is_early(record: Record) -> bool:
    return record.available is not None and record.time is not None and record.available.time < record.time.time


def _mixed(measurements: Sequence[tuple[str, Measurement]], reports: Sequence[tuple[str, WrittenReport]]) -> int:
    """Return the number of patients some of whose times have an offset and some have none."""
    stated: dict[str, set[bool]] = defaultdict(set)
    for patient, record in (*measurements, *reports):
        if record.time is not None and record.time.precision != "day":
            stated[patient].add(record.time.offset is None)
    return sum(len(kinds) > 1 for kinds in stated.values())


def _units(measurements: Sequence[tuple[str, Measurement]]) -> dict[str, Counter[str]]:
    units: dict[str, Counter[str]] = defaultdict(Counter)
    for _, record in measurements:
        if record.value is not None and record.value.number is not None:
            units[record.code][record.value.unit] += 1
    return units


def _is_local(code: str) -> bool:
    return code.partition("//")[0] not in ("LOINC", "SNOMED", "DCM")
