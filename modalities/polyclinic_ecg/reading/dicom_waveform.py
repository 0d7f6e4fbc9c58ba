"""Read a DICOM waveform as standard leads (PS3.3 C.10.9; lead codes of CID 3001)."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.waveforms import multiplex_array

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.parse import parse_dicom
from polyclinic_ecg.reading.dicom_groups import Group, choose_groups, place_leads
from polyclinic_ecg.recording import (
    LEADS,
    MAX_VALUES,
    Channel,
    Electrocardiogram,
    assemble,
    check_dimensions,
    lead_index,
    upright_name,
)

# CID 3001 writes a lead as 2:N in MDC and as 5.6.3-9-N in SCP-ECG, with the same N.
_PREFIXES = {"MDC": "2:", "SCPECG": "5.6.3-9-"}
_CODES = dict(zip(("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8"), LEADS, strict=True)) | {
    "65": "-aVR"
}
_AVERAGED = re.compile(r"median|averag|template|mean beat|representative", re.IGNORECASE)
SAMPLE_BYTES = {8: 1, 16: 2, 32: 4}
MAX_INFLATED_BYTES = 4 * MAX_VALUES
"""Twice the size of the longest record of 16 bits, to leave room for the other elements of a deflated file."""


def read_dicom(path: Path) -> Electrocardiogram:
    """Decode the longest ORIGINAL multiplex groups of standard leads, without averaged beats.

    Raises:
        UnreadableSource: there is no such group, its data is shorter than declared, or its leads cannot be used.
    """
    with warnings.catch_warnings():
        # pydicom warns about every odd value; what matters is whether the samples decode.
        warnings.simplefilter("ignore")
        dataset = parse_waveforms(path)
        try:
            return _decode(dataset)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOM waveform cannot be decoded ({type(error).__name__})") from None


def parse_waveforms(path: Path) -> Dataset:
    """Parse a DICOM file with waveforms.

    Raises:
        UnreadableSource: the file is too large, inflates to too much, cannot be parsed, or has no waveforms.
    """
    dataset = parse_dicom(path, max_inflated=MAX_INFLATED_BYTES, expected="WFDB record or DICOM file")
    if not dataset.get("WaveformSequence"):
        raise UnreadableSource(
            "neither a WFDB record, DICOM with a Waveform Sequence, a cart export that is read, nor CSV with leads"
        )
    return dataset


def _decode(dataset: Dataset) -> Electrocardiogram:
    items = [_group(place, item) for place, item in enumerate(dataset.WaveformSequence)]
    groups = [group for group in items if group is not None]
    recorded = [group for group in groups if group.is_original and not group.is_averaged]
    if not recorded:
        raise UnreadableSource(
            "DICOM with derived waveforms only; expected an ORIGINAL multiplex group"
            if groups or not items
            else f"none of the leads {', '.join(LEADS)} is in the record"
        )
    chosen = choose_groups(recorded)
    first = chosen[0].group
    rows, units = place_leads(chosen, lambda group: _channels(dataset, group))
    facts: dict[str, float | str] = {
        "format": "dicom",
        "encoding": str(dataset.WaveformSequence[first.place].WaveformSampleInterpretation),
        "groups": float(len(chosen)),
        "groups_left_out": float(sum(group.is_original for group in groups) - len(chosen)),
    }
    raw = assemble(rows, rate=first.rate, facts=facts)
    return replace(raw, facts={**raw.facts, "units": "+".join(sorted(units))})


def _group(place: int, item: Dataset) -> Group | None:
    """Read the header of a multiplex group; None without a standard lead."""
    names = [upright_name(_name(channel)) for channel in item.ChannelDefinitionSequence]
    leads = frozenset(index for name in names if (index := lead_index(name)) is not None)
    if not leads:
        return None
    averaged = _AVERAGED.search(str(item.get("MultiplexGroupLabel", ""))) is not None
    return Group(
        place=place,
        leads=leads,
        rate=float(item.SamplingFrequency),
        length=int(item.NumberOfWaveformSamples),
        channels=int(item.NumberOfWaveformChannels),
        offset=float(item.get("MultiplexGroupTimeOffset") or 0.0) / 1000,
        is_original=item.get("WaveformOriginality", "ORIGINAL") == "ORIGINAL",
        is_averaged=averaged,
    )


def _channels(dataset: Dataset, group: Group) -> list[Channel]:
    """Read the standard leads of a group, NaN for padding values.

    Raises:
        UnreadableSource: the rate or length is impossible, or there is less data than declared.
    """
    item = dataset.WaveformSequence[group.place]
    check_dimensions(rate=group.rate, length=group.length, channels=group.channels)
    declared = group.length * group.channels * SAMPLE_BYTES[int(item.WaveformBitsAllocated)]
    if len(item.WaveformData) < declared:
        raise UnreadableSource(f"waveform of {len(item.WaveformData)} bytes; its header declares {declared}")
    stored = dataset.waveform_array(group.place)
    if "WaveformPaddingValue" in item:
        stored[multiplex_array(dataset, group.place) == _padding_value(item)] = np.nan
    channels = [
        Channel(_name(definition), _unit(definition), stored[:, place])
        for place, definition in enumerate(item.ChannelDefinitionSequence)
    ]
    return [channel for channel in channels if lead_index(upright_name(channel.name)) is not None]


def _name(channel: Dataset) -> str:
    """Return the name of a lead from a code of a known scheme, or else from its meaning or label."""
    sources = channel.get("ChannelSourceSequence")
    source = sources[0] if sources else Dataset()
    code, prefix = str(source.get("CodeValue", "")), _PREFIXES.get(str(source.get("CodingSchemeDesignator", "")))
    if prefix and code.startswith(prefix):
        return _CODES.get(code.removeprefix(prefix), "")
    return str(source.get("CodeMeaning") or channel.get("ChannelLabel") or code)


def _unit(channel: Dataset) -> str:
    if "ChannelSensitivity" not in channel or not channel.get("ChannelSensitivityUnitsSequence"):
        return "unstated"
    return str(channel.ChannelSensitivityUnitsSequence[0].CodeValue)


def _padding_value(group: Dataset) -> int:
    """Return the stored value of missing samples (PS3.3 C.10.9.1.7), which some writers leave as bytes."""
    value = group.WaveformPaddingValue
    if isinstance(value, bytes):
        return int.from_bytes(value, "little", signed=str(group.WaveformSampleInterpretation) in ("SB", "SS", "SL"))
    return int(value)
