"""The decoded electrocardiogram, independent of its file format, and the names of leads."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard leads, in the order of all arrays of this plugin."""

MAX_VALUES = 50_000_000
"""Largest number of samples over all channels of a record; 12 leads at 500 Hz reach it after 2.3 hours."""

_RATE_RANGE = (50.0, 20_000.0)
_MIN_SECONDS = 1.0
# Electrode offsets reach a few hundred millivolts; beyond this limit, the gain or unit is wrong.
_MAX_MILLIVOLTS = 10_000.0
_INDEX = {lead.casefold(): index for index, lead in enumerate(LEADS)}
_ALIASES = {
    **{f"{prefix}{number}": lead for prefix in ("d", "lead ") for number, lead in zip("123", LEADS, strict=False)},
    **{f"{prefix}{lead}".casefold(): lead for prefix in ("d", "ml") for lead in LEADS[:3]},
    **{f"c{number}": f"V{number}" for number in range(1, 7)},
}
_PREFIX = re.compile(r"(?:mdc[\s_]+)?(?:(?:ecg|ekg)[\s_]+)?(?:(?:elec|potl|lead)[\s_]+)*")
_REMARK = re.compile(r"\s*\((?!inv|neg|-)[^)]*\)$")
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "\N{MICRO SIGN}v": 1e-3, "\N{GREEK SMALL LETTER MU}v": 1e-3, "v": 1e3}


class Channel(NamedTuple):
    """A channel of a file: its name, the unit of its values, and the values, NaN where nothing was recorded."""

    name: str
    unit: str
    values: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Electrocardiogram:
    """Twelve leads in the order of ``LEADS``, with the facts about their decoding.

    Attributes:
        signal: values in mV, NaN where a lead has no sample; a missing lead is entirely NaN.
        rate: samples per second.
        facts: facts about the file, as ``describe`` returns them.
    """

    signal: Float[np.ndarray, "12 N"]
    rate: float
    facts: Mapping[str, float | str]


def lead_index(name: str) -> int | None:
    """Return the row of a lead, under any common name; None for any other channel and for an inverted lead.

    Names are, in any letter case, ``aVR``, ``Lead I (Einthoven)``, ``ECG_II``, ``MDC_ECG_LEAD_V1``, ``DI`` and ``D1``
    of Romance languages, ``C1`` for V1, and ``MLII`` of the modified limb leads of Holter recorders.
    """
    plain = _REMARK.sub("", unicodedata.normalize("NFKC", name).strip().casefold())
    for candidate in (plain, _PREFIX.sub("", plain, count=1)):
        if (index := _INDEX.get(_ALIASES.get(candidate, candidate).casefold())) is not None:
            return index
    return None


def is_modified(name: str) -> bool:
    """Return True for the name of a modified limb lead, whose electrodes are on the trunk."""
    return name.strip().casefold().startswith("ml") and lead_index(name) is not None


def upright_name(name: str) -> str:
    """Return the lead that a channel such as ``-aVR`` (Cabrera sequence) inverts; any other name unchanged."""
    plain = _PREFIX.sub("", name.strip().casefold(), count=1)
    return plain[1:] if plain.startswith("-") and lead_index(plain[1:]) is not None else name


def upright(channel: Channel) -> Channel:
    """Invert the channel of an inverted lead, and return any other channel unchanged."""
    name = upright_name(channel.name)
    return channel if name == channel.name else Channel(name, channel.unit, -channel.values)


def standard_leads(channels: Iterable[Channel]) -> dict[int, Channel]:
    """Return the standard leads by row; other channels, and modified leads beside standard ones, are ignored.

    Raises:
        UnreadableSource: a lead is stored twice.
    """
    leads: dict[int, Channel] = {}
    for channel in map(upright, channels):
        index = lead_index(channel.name)
        if index is None or (index in leads and is_modified(channel.name) and not is_modified(leads[index].name)):
            continue
        if index in leads and is_modified(channel.name) == is_modified(leads[index].name):
            raise UnreadableSource(f"lead {LEADS[index]} is stored twice; expected one channel per lead")
        leads[index] = channel
    return leads


def check_dimensions(*, rate: float, length: int, channels: int) -> None:
    """Refuse dimensions that a resting electrocardiogram cannot have, before any sample is read.

    Raises:
        UnreadableSource: the rate, the duration or the number of values is out of range.
    """
    lowest, highest = _RATE_RANGE
    if not lowest <= rate <= highest:
        raise UnreadableSource(f"sampling rate of {rate:g} Hz; expected {lowest:g} to {highest:g} Hz")
    if length < _MIN_SECONDS * rate:
        raise UnreadableSource(f"{length} samples at {rate:g} Hz; expected at least {_MIN_SECONDS:g} second")
    if not 0 < length * channels <= MAX_VALUES:
        raise UnreadableSource(f"{channels} channels of {length} samples; expected 1 to {MAX_VALUES:,} values")


def assemble(channels: Iterable[Channel], *, rate: float, facts: Mapping[str, float | str]) -> Electrocardiogram:
    """Order the standard leads and convert them to millivolts; other channels (Frank leads, pressure) are ignored.

    A constant lead had no electrode contact and counts as missing.

    Raises:
        UnreadableSource: there is no standard lead, a lead is stored twice, or leads differ in length, or have an
            impossible voltage or an unknown unit.
    """
    leads = standard_leads(channels)
    if not leads:
        raise UnreadableSource(f"none of the leads {', '.join(LEADS)} is in the record")
    if len({len(channel.values) for channel in leads.values()}) != 1:
        raise UnreadableSource("leads of different length or rate; expected one rate for all standard leads")
    signal = np.full((len(LEADS), len(next(iter(leads.values())).values)), np.nan, dtype=np.float32)
    for index, channel in leads.items():
        values = channel.values * millivolts_per(channel.unit)
        low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
        if max(-low, high) > _MAX_MILLIVOLTS:
            raise UnreadableSource(
                f"lead {LEADS[index]} of more than {_MAX_MILLIVOLTS:,.0f} mV; expected gain and unit to fit"
            )
        if low < high:
            signal[index] = values
    return Electrocardiogram(signal, rate, {**facts, **_facts(signal, rate, leads)})


def millivolts_per(unit: str) -> float:
    """Return the factor from a unit to millivolts.

    Raises:
        UnreadableSource: the unit is not a voltage that electrocardiographs use.
    """
    scale = _MILLIVOLTS.get(unit.strip().casefold())
    if scale is None:
        raise UnreadableSource("lead in another unit than mV, uV and V")
    return scale


def _facts(signal: np.ndarray, rate: float, leads: Mapping[int, Channel]) -> dict[str, float | str]:
    present = ~np.isnan(signal).all(axis=1)
    if not present.any():
        raise UnreadableSource("no lead has a signal: all are constant or empty")
    units = sorted({channel.unit.strip() for channel in leads.values()})
    return {
        "rate": float(rate),
        "seconds": signal.shape[1] / rate,
        "leads": float(present.sum()),
        "flat_leads": float(len(leads) - present.sum()),
        "nan_share": float(np.isnan(signal[present]).mean()),
        "units": "+".join(units),
        "modified_leads": float(sum(is_modified(channel.name) for channel in leads.values())),
    }
