"""From a DICOM waveform (PS3.3 C.10.9; leads of CID 3001) to leads."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.waveforms import multiplex_array

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.inflated import refuse_bomb
from polyclinic_ecg.recording import LEADS, Channel, Electrocardiogram, assemble, check_dimensions, lead_index

# CID 3001 writes a lead as 2:N in MDC and as 5.6.3-9-N in SCP-ECG, with the same N.
_PREFIXES = {"MDC": "2:", "SCPECG": "5.6.3-9-"}
_CODES = dict(zip(("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8"), LEADS, strict=True))
SAMPLE_BYTES = {8: 1, 16: 2, 32: 4}
_MAX_BYTES = 500_000_000


def read_dicom(path: Path) -> Electrocardiogram:
    """Decode the ORIGINAL multiplex group that holds most of the standard leads; averaged beats are left out.

    Raises:
        UnreadableSource: no such group, data shorter than declared, or leads that cannot be used.
    """
    with warnings.catch_warnings():
        # pydicom warns of every odd value; what matters is whether the samples decode.
        warnings.simplefilter("ignore")
        dataset = parse_dicom(path)
        try:
            return _decode(dataset)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOM waveform cannot be decoded ({type(error).__name__})") from None


def parse_dicom(path: Path) -> Dataset:
    """Parse a DICOM file with waveforms that is neither too large nor a bomb; for errors see ``read_dicom``."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UnreadableSource(f"DICOM file larger than {_MAX_BYTES:,} bytes")
        # From memory, where an element that claims gigabytes gets what there is; a file would allocate them.
        content = path.read_bytes()
        refuse_bomb(content)
        dataset = pydicom.dcmread(BytesIO(content), force=True)
    except UnreadableSource:
        raise
    except Exception as error:
        raise UnreadableSource(f"neither a WFDB record nor DICOM that can be parsed ({type(error).__name__})") from None
    if not dataset.get("WaveformSequence"):
        raise UnreadableSource("neither a WFDB record nor DICOM with a Waveform Sequence")
    return dataset


def _decode(dataset: Dataset) -> Electrocardiogram:
    groups = [group for group in dataset.WaveformSequence if group.get("WaveformOriginality", "ORIGINAL") == "ORIGINAL"]
    if not groups:
        raise UnreadableSource("DICOM with derived waveforms only; expected an ORIGINAL multiplex group")
    group = max(groups, key=lambda each: sum(lead_index(_name(c)) is not None for c in each.ChannelDefinitionSequence))
    rate, length = float(group.SamplingFrequency), int(group.NumberOfWaveformSamples)
    count = int(group.NumberOfWaveformChannels)
    check_dimensions(rate=rate, length=length, channels=count)
    declared = length * count * SAMPLE_BYTES[int(group.WaveformBitsAllocated)]
    if len(group.WaveformData) < declared:
        raise UnreadableSource(f"waveform of {len(group.WaveformData)} bytes; its header declares {declared}")
    index = next(place for place, each in enumerate(dataset.WaveformSequence) if each is group)
    stored = dataset.waveform_array(index)
    if "WaveformPaddingValue" in group:
        stored[multiplex_array(dataset, index) == _padding_value(group)] = np.nan
    definitions = list(group.ChannelDefinitionSequence)
    channels = [
        Channel(_name(channel), _unit(channel), stored[:, place])
        for place, channel in enumerate(definitions)
        if lead_index(_name(channel)) is not None
    ]
    return assemble(channels, rate=rate, facts={"format": "dicom", "encoding": str(group.WaveformSampleInterpretation)})


def _name(channel: Dataset) -> str:
    """The lead's name from its code where the scheme is known, from its meaning otherwise."""
    source = channel.ChannelSourceSequence[0]
    code, prefix = str(source.get("CodeValue", "")), _PREFIXES.get(str(source.get("CodingSchemeDesignator", "")))
    if prefix and code.startswith(prefix):
        return _CODES.get(code.removeprefix(prefix), "")
    return str(source.get("CodeMeaning", ""))


def _unit(channel: Dataset) -> str:
    if "ChannelSensitivity" not in channel or not channel.get("ChannelSensitivityUnitsSequence"):
        return "unstated"
    return str(channel.ChannelSensitivityUnitsSequence[0].CodeValue)


def _padding_value(group: Dataset) -> int:
    """The stored value that stands for "no sample" (PS3.3 C.10.9.1.7), which some writers leave as bytes."""
    value = group.WaveformPaddingValue
    if isinstance(value, bytes):
        return int.from_bytes(value, "little", signed=str(group.WaveformSampleInterpretation) in ("SB", "SS", "SL"))
    return int(value)
