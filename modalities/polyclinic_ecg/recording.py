"""One decoded electrocardiogram, whatever file it came from: leads by name, in millivolts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard leads in the order that every array of this plugin has."""

MAX_VALUES = 50_000_000
"""Records of more samples over all channels are refused; 12 leads at 500 Hz reach this after 2.3 hours."""

_RATES = (50.0, 20_000.0)
_SHORTEST = 1.0
# Electrode offsets reach a few hundred millivolts; beyond this, gain or unit is wrong.
_LARGEST = 10_000.0
_INDEX = {lead.casefold(): index for index, lead in enumerate(LEADS)}
_NAME = re.compile(r"(?:lead\s+)?(iii|ii|i|av[rlf]|v[1-6])(?:\s*\([^)]*\))?", re.IGNORECASE)
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "\N{MICRO SIGN}v": 1e-3, "\N{GREEK SMALL LETTER MU}v": 1e-3, "v": 1e3}


class Channel(NamedTuple):
    """One channel of a file as it was stored: its name, the unit of its values, NaN where nothing was recorded."""

    name: str
    unit: str
    values: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Electrocardiogram:
    """Twelve leads in ``LEADS`` order, with the facts of how they were obtained.

    Attributes:
        signal: millivolts; NaN where a lead has no sample, a missing lead is NaN throughout.
        rate: samples per second.
        facts: what ``describe`` tells.
    """

    signal: Float[np.ndarray, "12 N"]
    rate: float
    facts: Mapping[str, float | str]


def lead_index(name: str) -> int | None:
    """The row of a lead in any case (``avr``, ``Lead I (Einthoven)``); None for any other channel."""
    match = _NAME.fullmatch(name.strip())
    return _INDEX[match[1].casefold()] if match else None


def check_dimensions(*, rate: float, length: int, channels: int) -> None:
    """Refuse what cannot be a resting electrocardiogram, before any sample is read.

    Raises:
        UnreadableSource: rate, duration or number of values out of range.
    """
    if not _RATES[0] <= rate <= _RATES[1]:
        raise UnreadableSource(f"sampling rate of {rate:g} Hz; expected {_RATES[0]:g} to {_RATES[1]:g} Hz")
    if length < _SHORTEST * rate:
        raise UnreadableSource(f"{length} samples at {rate:g} Hz; expected at least {_SHORTEST:g} second")
    if not 0 < length * channels <= MAX_VALUES:
        raise UnreadableSource(f"{channels} channels of {length} samples; expected 1 to {MAX_VALUES:,} values")


def assemble(channels: Iterable[Channel], *, rate: float, facts: Mapping[str, float | str]) -> Electrocardiogram:
    """Put the standard leads in order and in millivolts; other channels (Frank leads, pressure) are ignored.

    A lead that never changes is an electrode that was off: it counts as missing.

    Raises:
        UnreadableSource: no standard lead, one twice, lengths that differ, an impossible voltage, or another unit.
    """
    found: dict[int, Channel] = {}
    for channel in channels:
        index = lead_index(channel.name)
        if index is None:
            continue
        if index in found:
            raise UnreadableSource(f"lead {LEADS[index]} is stored twice; expected one channel per lead")
        found[index] = channel
    if not found:
        raise UnreadableSource(f"none of the leads {', '.join(LEADS)} is in the record")
    if len({len(channel.values) for channel in found.values()}) != 1:
        raise UnreadableSource("leads of different length or rate; expected one rate for all standard leads")
    signal = np.full((len(LEADS), len(next(iter(found.values())).values)), np.nan, dtype=np.float32)
    for index, channel in found.items():
        values = channel.values * millivolts_per(channel.unit)
        low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
        if max(-low, high) > _LARGEST:
            raise UnreadableSource(
                f"lead {LEADS[index]} of more than {_LARGEST:,.0f} mV; expected gain and unit to fit"
            )
        if low < high:
            signal[index] = values
    return Electrocardiogram(signal, rate, {**facts, **_facts(signal, rate, found)})


def millivolts_per(unit: str) -> float:
    """Millivolts in one of a unit.

    Raises:
        UnreadableSource: not a unit of voltage that electrocardiographs use.
    """
    scale = _MILLIVOLTS.get(unit.strip().casefold())
    if scale is None:
        raise UnreadableSource("lead in another unit than mV, uV and V")
    return scale


def _facts(signal: np.ndarray, rate: float, found: Mapping[int, Channel]) -> dict[str, float | str]:
    present = ~np.isnan(signal).all(axis=1)
    if not present.any():
        raise UnreadableSource("no lead has a signal: all are constant or empty")
    units = sorted({channel.unit.strip() for channel in found.values()})
    return {
        "rate": float(rate),
        "seconds": signal.shape[1] / rate,
        "leads": float(present.sum()),
        "flat_leads": float(len(found) - present.sum()),
        "nan_share": float(np.isnan(signal[present]).mean()),
        "units": "+".join(units),
    }
