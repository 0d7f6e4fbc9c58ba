"""Measurements and statements that a cart stores beside its samples, as columns of a table."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyclinic_ecg.reading.cart import CSV, cart_format, decode

# Bounds of the columns: what a cart stores for a value that it could not measure lies outside (0, 29999 or -999).
_BOUNDS = {
    "heart_rate_bpm": (1, 500),
    **dict.fromkeys(("rr_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "qtc_bazett_ms", "qtc_fridericia_ms"), (1, 5000)),
    **dict.fromkeys(("p_axis_deg", "qrs_axis_deg", "t_axis_deg"), (-360, 360)),
}
_FIELDS = {
    "heart_rate_bpm": "heart_rate",
    "rr_ms": "rr_interval",
    "pr_ms": "pr_interval",
    "qrs_ms": "qrs_duration",
    "qt_ms": "qt_interval",
    "qtc_bazett_ms": "qtc_bazett",
    "qtc_fridericia_ms": "qtc_fridericia",
    "p_axis_deg": "p_axis",
    "qrs_axis_deg": "qrs_axis",
    "t_axis_deg": "t_axis",
}
# SCP-ECG stores the boundaries of waves (EN 1064, section 7), of which each interval is a difference.
_INTERVALS = {
    "pr_ms": ("median_p_onset_ms", "median_qrs_onset_ms"),
    "qrs_ms": ("median_qrs_onset_ms", "median_qrs_offset_ms"),
    "qt_ms": ("median_qrs_onset_ms", "median_t_offset_ms"),
}
_SCP = "scp_ecg"
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)(?: ms\b.*)?\s*")


def cart_facts(path: Path) -> dict[str, float | str]:
    """Return what the cart measured and stated, without what is absent or out of bounds.

    Args:
        path: file for which ``cart_format`` returns a name.

    Returns:
        Numbers under ``heart_rate_bpm``, ``rr_ms``, ``pr_ms``, ``qrs_ms``, ``qt_ms``, ``qtc_bazett_ms``,
        ``qtc_fridericia_ms``, ``qtc_ms`` (by a formula that the file does not state), ``p_axis_deg``, ``qrs_axis_deg``
        and ``t_axis_deg``; the lines of ``statements`` and their ``statements_by``: ``machine``, ``overread`` or
        ``confirmed``. Statements are free text, which may name a person.

    Raises:
        UnreadableSource: the file cannot be decoded.
    """
    if cart_format(path) == CSV:
        return {}
    record = decode(path).record
    facts: dict[str, float | str] = {}
    for name, value in _measured(record):
        low, high = _BOUNDS[name]
        if name not in facts and low <= value <= high:
            facts[name] = value
    lines = [" ".join(part.strip() for part in parts if part.strip()) for parts in record.interpretation.statements]
    if text := "\n".join(line for line in lines if line):
        facts |= {"statements": text, "statements_by": record.interpretation.source or "machine"}
    return facts


def _measured(record: Any) -> Iterator[tuple[str, float]]:
    for name, field in _FIELDS.items():
        if (value := getattr(record.measurements, field)) is not None:
            yield name, float(value)
    places = [record.annotations.get("QTCorrected"), record.annotations.get("qtc")]
    places += [record.raw_metadata.get("qtc"), record.raw_metadata.get("qtc_ms")]
    for place in places:
        if place is not None and (match := _NUMBER.fullmatch(str(place))):
            yield "qtc_ms", float(match[1])
    for name, (start, end) in _INTERVALS.items() if record.source_format == _SCP else ():
        if start in record.annotations and end in record.annotations:
            yield name, float(record.annotations[end]) - float(record.annotations[start])
