"""Which multiplex groups of a DICOM waveform are read, and where their leads lie in time (PS3.3 C.10.9)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.recording import (
    LEADS,
    MAX_VALUES,
    Channel,
    check_dimensions,
    millivolts_per,
    standard_leads,
)

_SHORTEST = 2.0
"""Seconds: a shorter group beside a longer one is an averaged beat, which lasts 1.2 s; columns of paper last 2.5 s."""

_WHOLE = 8
"""Limb leads follow from two of them, so that this many leads are a whole electrocardiogram."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """What a multiplex group declares.

    Attributes:
        place: in the Waveform Sequence.
        leads: rows of the standard leads in it.
        rate: samples per second.
        length: samples of each channel.
        channels: of any kind.
        offset: seconds from the start of the acquisition.
        is_original: not DERIVED.
        is_averaged: labelled as an averaged beat.
    """

    place: int
    leads: frozenset[int]
    rate: float
    length: int
    channels: int
    offset: float
    is_original: bool
    is_averaged: bool

    @property
    def seconds(self) -> float:
        """Duration; 0 where the rate cannot be."""
        return self.length / self.rate if self.rate > 0 else 0.0


class Part(NamedTuple):
    """A group, the leads that are taken of it, and the samples at which they start."""

    group: Group
    leads: frozenset[int]
    start: int


def choose_groups(groups: Sequence[Group]) -> list[Part]:
    """Take the longest group with the most leads, and from others what it lacks at the same rate.

    Of a group with eight leads or more, other groups complete the leads only within its time. Fewer leads, such as the
    three of a column of paper, are joined at their offsets to the length of all of them.

    Args:
        groups: recorded ones with standard leads, at least one.

    Returns:
        The parts, of which the first gives the rate; starts count from the first sample that is read.
    """
    long = [group for group in groups if group.seconds >= _SHORTEST] or list(groups)
    first = max(long, key=lambda each: (min(len(each.leads), _WHOLE), each.seconds, len(each.leads)))
    others = [each for each in long if each is not first and each.rate == first.rate]
    if len(first.leads) >= _WHOLE:
        others = [each for each in others if abs(each.offset - first.offset) * first.rate < 1]
        order = [first, *sorted(others, key=lambda each: -each.seconds)]
    else:
        order = sorted([first, *others], key=lambda each: -each.seconds)
    origin = min(each.offset for each in order)
    parts: list[Part] = []
    for group in order:
        start = round((group.offset - origin) * group.rate)
        free = frozenset(lead for lead in group.leads if not _overlaps(parts, lead, start, group.length))
        if free:
            parts.append(Part(group, free, start))
    return parts


def place_leads(parts: Sequence[Part], read: Callable[[Group], Iterable[Channel]]) -> tuple[list[Channel], set[str]]:
    """Read the chosen leads, in mV where they are of several groups, at their times; NaN where nothing was recorded.

    Raises:
        UnreadableSource: too many values, or what ``read`` and ``standard_leads`` refuse.
    """
    whole = len(parts[0].group.leads) >= _WHOLE
    length = parts[0].group.length if whole else max(part.start + part.group.length for part in parts)
    check_dimensions(rate=parts[0].group.rate, length=length, channels=len(LEADS))
    if sum(part.group.length * part.group.channels for part in parts) > MAX_VALUES:
        raise UnreadableSource(f"multiplex groups of more than {MAX_VALUES:,} values in all")
    rows: dict[int, Channel] = {}
    units: set[str] = set()
    for part in parts:
        for lead, channel in standard_leads(read(part.group)).items():
            if lead not in part.leads:
                continue
            units.add(channel.unit.strip())
            row = rows.setdefault(lead, Channel(channel.name, "mV", np.full(length, np.nan))).values
            end = min(length, part.start + part.group.length)
            row[part.start : end] = channel.values[: end - part.start] * millivolts_per(channel.unit)
    return list(rows.values()), units


def _overlaps(parts: Iterable[Part], lead: int, start: int, length: int) -> bool:
    return any(
        lead in part.leads and start < part.start + part.group.length and part.start < start + length for part in parts
    )
