"""Choose the multiplex groups of a DICOM waveform to read, and place their leads in time (PS3.3 C.10.9)."""

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

_MIN_SECONDS = 2.0
"""A shorter group beside a longer one is an averaged beat, which lasts 1.2 s; columns of a printout last 2.5 s."""

_INDEPENDENT_LEADS = 8
"""Four of the six limb leads follow from the other two, so that this many leads are a complete electrocardiogram."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Header of a multiplex group.

    Attributes:
        place: index in the Waveform Sequence.
        leads: rows of its standard leads.
        rate: samples per second.
        length: samples of each channel.
        channels: number of channels of any kind.
        offset: seconds from the start of the acquisition.
        is_original: True unless the group is DERIVED.
        is_averaged: True if the label is that of an averaged beat.
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
        """Duration in seconds; 0 for an impossible rate."""
        return self.length / self.rate if self.rate > 0 else 0.0


class Part(NamedTuple):
    """A group, the rows of the leads to read from it, and the sample at which they start."""

    group: Group
    leads: frozenset[int]
    start: int


def choose_groups(groups: Sequence[Group]) -> list[Part]:
    """Choose the longest group with the most leads, and complete it from other groups of the same rate.

    A group with eight leads or more is completed only by groups that start at the same time. Groups with fewer leads,
    such as the three leads in a column of a printout, are joined at their offsets.

    Args:
        groups: one or more recorded groups with standard leads.

    Returns:
        The parts, which share the rate of the first; starts are relative to the earliest part.
    """
    long = [group for group in groups if group.seconds >= _MIN_SECONDS] or list(groups)
    first = max(long, key=lambda group: (min(len(group.leads), _INDEPENDENT_LEADS), group.seconds, len(group.leads)))
    others = [group for group in long if group is not first and group.rate == first.rate]
    if len(first.leads) >= _INDEPENDENT_LEADS:
        others = [group for group in others if abs(group.offset - first.offset) * first.rate < 1]
        order = [first, *sorted(others, key=lambda group: -group.seconds)]
    else:
        order = sorted([first, *others], key=lambda group: -group.seconds)
    origin = min(group.offset for group in order)
    parts: list[Part] = []
    for group in order:
        start = round((group.offset - origin) * group.rate)
        free = frozenset(lead for lead in group.leads if not _overlaps(parts, lead, start, group.length))
        if free:
            parts.append(Part(group, free, start))
    return parts


def place_leads(parts: Sequence[Part], read: Callable[[Group], Iterable[Channel]]) -> tuple[list[Channel], set[str]]:
    """Read the chosen leads and place them at their times, NaN where nothing was recorded.

    Args:
        parts: parts from ``choose_groups``.
        read: function that reads the channels of a group.

    Returns:
        Channels in mV, and the units of the file.

    Raises:
        UnreadableSource: there are too many values, or ``read`` or ``standard_leads`` refuses a group.
    """
    complete = len(parts[0].group.leads) >= _INDEPENDENT_LEADS
    length = parts[0].group.length if complete else max(part.start + part.group.length for part in parts)
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
