"""Read WFDB records of several segments, in fixed or variable layout (header(5) of the WFDB manual)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.wfdb_header import Declared, Outline, beside, header_lines, parse_header, parse_outline
from polyclinic_ecg.reading.wfdb_samples import read_samples
from polyclinic_ecg.recording import (
    LEADS,
    Channel,
    Electrocardiogram,
    assemble,
    check_dimensions,
    millivolts_per,
    standard_leads,
)

_MAX_SEGMENTS = 1000


class _Segment(NamedTuple):
    """A segment line of the record's header; ``declared`` is None for a gap."""

    header: Path
    frames: int
    declared: Declared | None


def read_segments(header: Path, lines: Sequence[str]) -> Electrocardiogram:
    """Decode a record of several segments, each verified like a separate record.

    Leads are found by name in each segment, converted from its unit, and concatenated. They have no samples in gaps
    and in segments without them.

    Args:
        header: ``.hea`` file of the record, in the folder of those of its segments.
        lines: lines of the header from ``header_lines``.

    Raises:
        UnreadableSource: a header or segment is missing, invalid, or contradicts another.
    """
    outline = parse_outline(lines)
    if len(outline.segments) > _MAX_SEGMENTS:
        raise UnreadableSource(f"WFDB record of {len(outline.segments)} segments; expected at most {_MAX_SEGMENTS:,}")
    segments = [_segment(header, name, frames) for name, frames in outline.segments]
    # In the variable layout, the first segment is empty and lists the signals of all others.
    layout = segments.pop(0).declared if outline.segments[0][1] == 0 else None
    parts = [segment.declared for segment in segments if segment.declared is not None]
    _refuse_contradictions(outline, parts, layout)
    per_frame = _per_frame(parts)
    rate, length = outline.frames_per_second * per_frame, outline.frames * per_frame
    check_dimensions(rate=rate, length=length, channels=max(len(LEADS), *(part.channels(per_frame) for part in parts)))
    rows, units, checksum = _joined(segments, per_frame, length)
    facts: dict[str, float | str] = {
        "format": "wfdb",
        "encoding": "+".join(sorted({encoding for part in parts for encoding in part.encodings.split("+")})),
        "checksum": checksum,
        "uncalibrated_leads": float(max(part.uncalibrated for part in parts)),
        "layout": "fixed" if layout is None else "variable",
        "segments": float(len(parts)),
    }
    raw = assemble((Channel(LEADS[index], "mV", row) for index, row in rows.items()), rate=rate, facts=facts)
    modified = {name for part in parts for name in part.modified}
    return replace(raw, facts={**raw.facts, "units": units, "modified_leads": float(len(modified))})


def _joined(segments: Iterable[_Segment], per_frame: int, length: int) -> tuple[dict[int, np.ndarray], str, str]:
    """Return leads in mV by row, the units of the segments, and ``absent`` if any checksum is missing."""
    rows: dict[int, np.ndarray] = {}
    units: set[str] = set()
    start, checksums = 0, {"verified"}
    for segment in segments:
        end = start + segment.frames * per_frame
        if segment.declared is not None and segment.declared.signals:
            channels, checksum = read_samples(segment.header, segment.declared)
            checksums.add(checksum)
            for index, channel in standard_leads(channels).items():
                row = rows.setdefault(index, np.full(length, np.nan))
                row[start:end] = channel.values * millivolts_per(channel.unit)
                units.add(channel.unit.strip())
        start = end
    return rows, "+".join(sorted(units)), min(checksums)


def _segment(header: Path, name: str, frames: int) -> _Segment:
    """Read the header of a segment, which may not consist of segments."""
    segment = beside(header, f"{name}.hea")
    if not name:
        if not frames:
            raise UnreadableSource("WFDB record that begins with an empty gap; expected the layout of its segments")
        return _Segment(segment, frames, None)
    lines, ended = header_lines(segment)
    declared = parse_header(lines, ended=ended)
    if declared.frames != frames:
        raise UnreadableSource(f"WFDB segment of {declared.frames} samples; its record declares {frames}")
    return _Segment(segment, frames, declared)


def _refuse_contradictions(outline: Outline, parts: Sequence[Declared], layout: Declared | None) -> None:
    if not parts:
        raise UnreadableSource("WFDB record whose segments are all gaps")
    reference = layout or parts[0]
    if outline.signals != len(reference.signals):
        raise UnreadableSource(
            f"WFDB record of {outline.signals} signals; its {'layout' if layout else 'first segment'} lists "
            f"{len(reference.signals)}"
        )
    names = [signal.name for signal in reference.signals]
    for part in parts:
        if part.frames_per_second != outline.frames_per_second:
            raise UnreadableSource("WFDB segments of different rate; expected the rate of their record")
        listed = [signal.name for signal in part.signals]
        if (listed != names) if layout is None else not set(listed) <= set(names):
            raise UnreadableSource(
                "WFDB segment with signals that its record does not list; expected those of the "
                + ("first segment, in its order" if layout is None else "layout")
            )


def _per_frame(parts: Iterable[Declared]) -> int:
    counts = {part.per_frame for part in parts} - {None}
    if len(counts) > 1:
        raise UnreadableSource("leads of different rate in different segments; expected one rate for all")
    return next(iter(counts), None) or 1
