"""One decoded electrocardiogram, whatever file it came from: leads by name, in millivolts."""

import re
import unicodedata
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
_ALIASES = {
    **{f"{prefix}{number}": lead for prefix in ("d", "lead ") for number, lead in zip("123", LEADS, strict=False)},
    **{f"{prefix}{lead}".casefold(): lead for prefix in ("d", "ml") for lead in LEADS[:3]},
    **{f"c{number}": f"V{number}" for number in range(1, 7)},
}
_PREFIX = re.compile(r"(?:mdc[\s_]+)?(?:(?:ecg|ekg)[\s_]+)?(?:(?:elec|potl|lead)[\s_]+)*")
_REMARK = re.compile(r"\s*\((?!inv|neg|-)[^)]*\)$")
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
    """The row of a lead, whatever a device calls it; None for any other channel and for an inverted lead.

    In any case: ``aVR``, ``Lead I (Einthoven)``, ``ECG_II``, ``MDC_ECG_LEAD_V1``, ``DI`` and ``D1`` of Romance
    languages, ``C1`` for V1, and ``MLII``, the modified limb leads of Holter recorders.
    """
    plain = _REMARK.sub("", unicodedata.normalize("NFKC", name).strip().casefold())
    for candidate in (plain, _PREFIX.sub("", plain, count=1)):
        if (found := _INDEX.get(_ALIASES.get(candidate, candidate).casefold())) is not None:
            return found
    return None


def is_modified(name: str) -> bool:
    """Whether a name is that of a modified limb lead, whose electrodes are on the trunk."""
    return name.strip().casefold().startswith("ml") and lead_index(name) is not None


def upright_name(name: str) -> str:
    """The lead of which a channel such as ``-aVR`` (Cabrera's order) holds the negative; any other name as it is."""
    plain = _PREFIX.sub("", name.strip().casefold(), count=1)
    return plain[1:] if plain.startswith("-") and lead_index(plain[1:]) is not None else name


def upright(channel: Channel) -> Channel:
    """A channel of a negative lead turned over; any other as it is."""
    name = upright_name(channel.name)
    return channel if name == channel.name else Channel(name, channel.unit, -channel.values)


def standard_leads(channels: Iterable[Channel]) -> dict[int, Channel]:
    """The standard leads by their row; other channels are ignored, and a modified lead beside the standard one.

    Raises:
        UnreadableSource: a lead is stored twice.
    """
    found: dict[int, Channel] = {}
    for channel in map(upright, channels):
        index = lead_index(channel.name)
        if index is None or (index in found and is_modified(channel.name) and not is_modified(found[index].name)):
            continue
        if index in found and is_modified(channel.name) == is_modified(found[index].name):
            raise UnreadableSource(f"lead {LEADS[index]} is stored twice; expected one channel per lead")
        found[index] = channel
    return found


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
    found = standard_leads(channels)
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
        "modified_leads": float(sum(is_modified(channel.name) for channel in found.values())),
    }
