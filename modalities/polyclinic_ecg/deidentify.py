"""De-identify electrocardiograms: WFDB records under new names, DICOM waveforms with a clean header."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import soundfile
from pydicom.dataset import Dataset

from polyclinic.modality import Cleaned, Identity, UnreadableSource, labelled_names
from polyclinic_dicom.write import STANDARD, clean_dataset, refused_if_not_writable, write_dataset
from polyclinic_ecg.reading.dicom_waveform import SAMPLE_BYTES, parse_waveforms
from polyclinic_ecg.reading.quiet_wfdb import rx_record, rx_signal
from polyclinic_ecg.reading.wfdb_header import BYTES_PER_SAMPLE, Declared, header_lines, is_segmented, parse_header
from polyclinic_ecg.recording import LEADS, lead_index

# Samples per block and bytes per block of the formats that pack several samples together (signal(5)).
_BLOCKS = {"212": (2, 3), "310": (3, 4), "311": (3, 4)}
_NO_FILE = "~"
_CLOCK = re.compile(r"\d{1,2}(?::\d{2}){0,2}(?:\.\d{1,3})?")
# In lower case. The description of a signal is free text, so anything else may be a person's name.
_SIGNALS = frozenset(
    (
        *("vx", "vy", "vz", "x", "y", "z", "ml1", "ml2", "ml3", "mli", "mlii", "mliii", "mv1", "mcl1", "mcl6", "v"),
        *("cm2", "cm4", "cm5", "cc5", "d3", "d4", "v7", "v8", "v9", "v3r", "v4r", "ecg", "ecg1", "ecg2", "ecg3"),
        *("resp", "respiration", "airflow", "flow", "pleth", "ppg", "abp", "art", "bp", "nbp", "cvp", "pap", "icp"),
        *("spo2", "so2", "co2", "etco2", "hr", "pulse", "pr", "eeg", "emg", "eog", "eda", "temp", "marker", "trigger"),
        *("pacing", "acc", "acc x", "acc y", "acc z", "pcg"),
    )
)
_UNITS = frozenset(
    (
        *("mv", "uv", "v", "nv", "mmhg", "cmh2o", "kpa", "nu", "adu", "bpm", "%", "ohm", "degc", "degf", "c", "f"),
        *("l/min", "ml/s", "l", "ml", "g", "m/s2", "us", "ms", "s", "hz", "db", "deg", "pm", "1"),
    )
)
# Largest values that header(5) needs: more digits could be a record or telephone number. The limit of the stored
# values depends on the storage format.
_MAX_FIELDS = {"skew": 9999, "adc_gain": 999_999, "adc_res": 32, "checksum": 65_535, "block_size": 0}
_STORED_FIELDS = ("baseline", "adc_zero", "init_value")
_MAX_WIDE, _MAX_NARROW = 2**31, 65_536
_DIGITS = 6
"""Significant digits written for a rate, and for the gain of other signals than leads; more could be a telephone
number."""


def comment_names(header: Path) -> list[str]:
    """Return names that a label marks in the comments of a WFDB header."""
    lines = header.read_bytes().decode("latin-1").splitlines()
    return labelled_names("\n".join(line.lstrip("# \t") for line in lines if line.startswith("#")))


def write_clean_record(header: Path, out: Path, identity: Identity) -> Cleaned:
    """Write a WFDB record again: headers rebuilt from their fields, and signal files cut to the declared samples.

    Comments are dropped, because any of them may be free text, and base dates are shifted. Lines are rebuilt, so
    that text outside the fields is not copied.

    Args:
        header: header of the original record.
        out: path of the new record without a suffix.
        identity: identity of the patient.

    Raises:
        UnreadableSource: ``read`` would refuse a header or a signal file.
    """
    removed = Counter[str]()
    lines, _ = header_lines(header)
    if is_segmented(lines[0]):
        source = _write_outline(header, lines, out, identity, removed)
    else:
        source = _write_segment(header, out, identity, removed)
    return Cleaned(source=source, removed=+removed)


def _write_outline(header: Path, lines: list[str], out: Path, identity: Identity, removed: Counter[str]) -> Path:
    names: dict[str, str] = {_NO_FILE: _NO_FILE}
    rebuilt = [_record_line(lines[0], out.name, identity, removed)]
    for line in lines[1:]:
        name, length = line.split()
        if name not in names:
            names[name] = f"{out.name}_{len(names):04d}"
            _write_segment(header.with_name(f"{name}.hea"), out.with_name(names[name]), identity, removed)
        rebuilt.append(f"{names[name]} {length}")
    return _write_header(header, out, rebuilt, removed)


def _write_segment(header: Path, out: Path, identity: Identity, removed: Counter[str]) -> Path:
    lines, ended = header_lines(header)
    declared = parse_header(lines, ended=ended)
    files = _new_names(declared, out.name)
    for old, new in files.items():
        if old != _NO_FILE:
            (out.with_name(new)).write_bytes(_samples(header.with_name(old), declared))
    rebuilt = [_record_line(lines[0], out.name, identity, removed)]
    rebuilt += [_signal_line(line, files, identity, removed) for line in lines[1:]]
    return _write_header(header, out, rebuilt, removed)


def _new_names(declared: Declared, record: str) -> dict[str, str]:
    files = list(dict.fromkeys(signal.file for signal in declared.signals if signal.file != _NO_FILE))
    names = [f"{record}.dat"] if len(files) == 1 else [f"{record}_{index}.dat" for index in range(len(files))]
    return {_NO_FILE: _NO_FILE, **dict(zip(files, names, strict=True))}


def _write_header(header: Path, out: Path, lines: list[str], removed: Counter[str]) -> Path:
    stored = header.read_bytes().splitlines()
    removed["comment lines"] += sum(line.lstrip().startswith(b"#") for line in stored)
    written = out.with_name(f"{out.name}.hea")
    written.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def signal_label(name: str) -> str:
    """Return this plugin's name of a lead, the name of another known signal unchanged, and else an empty string."""
    index = lead_index(name)
    if index is not None:
        return LEADS[index]
    return name.strip() if name.strip().casefold() in _SIGNALS else ""


_WAVEFORM_STANDARD = replace(STANDARD, label=signal_label)


def _record_line(line: str, name: str, identity: Identity, removed: Counter[str]) -> str:
    match = rx_record.match(line)
    assert match is not None, "a record line was just parsed"
    segments = f"/{match['n_seg']}" if match["n_seg"] else ""
    parts = [f"{name}{segments}", match["n_sig"], f"{float(match['fs']):.{_DIGITS}g}", match["sig_len"]]
    if match["base_date"] and _CLOCK.fullmatch(match["base_time"]):
        removed["dates"] += 1
        shifted = _shifted(match["base_date"], identity)
        parts += [match["base_time"], shifted] if shifted else [match["base_time"]]
    return " ".join(parts)


def _shifted(base_date: str, identity: Identity) -> str:
    """Return the shifted day, month and year in the form of header(5), or an empty string for an invalid date."""
    try:
        day, month, year = map(int, base_date.split("/"))
        shifted = identity.moved(date(year, month, day))
    except ValueError:
        return ""
    return f"{shifted.day:02d}/{shifted.month:02d}/{shifted.year:04d}" if shifted else ""


def _signal_line(line: str, files: Mapping[str, str], identity: Identity, removed: Counter[str]) -> str:
    """Rebuild a signal line with its numbers in range, a known unit, and a known or pseudonymous name."""
    match = rx_signal.match(line)
    assert match is not None, "a signal line was just parsed"
    name, unit = match["sig_name"], match["units"]
    changed = {"file_name": files[match["file_name"]], "sig_name": signal_label(name)}
    if name.strip() and not changed["sig_name"]:
        changed["sig_name"] = identity.mapped("signal", name)
        removed["names of signals"] += 1
    if unit.casefold() not in _UNITS and lead_index(name) is None:
        changed["units"] = "NU" if unit else ""
        removed["units of signals"] += bool(unit)
    if lead_index(name) is None and match["adc_gain"]:
        changed["adc_gain"] = f"{_number(match['adc_gain']):.{_DIGITS}g}"
    max_stored = _MAX_WIDE if match["fmt"] in ("24", "32", "524") else _MAX_NARROW
    for group, largest in {**_MAX_FIELDS, **dict.fromkeys(_STORED_FIELDS, max_stored)}.items():
        if match[group] and abs(_number(match[group])) > largest:
            changed[group] = "0"
            removed["numbers out of range"] += 1
    rebuilt = match[0]
    for group in sorted(changed, key=match.start, reverse=True):
        rebuilt = rebuilt[: match.start(group)] + changed[group] + rebuilt[match.end(group) :]
    return rebuilt.strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


def _samples(path: Path, declared: Declared) -> bytes:
    """Return the declared samples of a file, with zeros for the bytes before them and without the bytes after them."""
    signals = [signal for signal in declared.signals if signal.file == path.name]
    encoding, offset = signals[0].encoding, signals[0].offset
    content = path.read_bytes()
    if encoding not in BYTES_PER_SAMPLE:
        return _reencoded_flac(content)
    count = sum(signal.per_frame for signal in signals) * declared.frames
    per_block, block_bytes = _BLOCKS.get(encoding, (1, int(BYTES_PER_SAMPLE[encoding])))
    end = offset + math.ceil(count / per_block) * block_bytes
    return b"\0" * offset + content[offset:end]


def _reencoded_flac(content: bytes) -> bytes:
    """Decode and encode a FLAC stream, which drops tags before, inside and after it."""
    encoded = BytesIO()
    try:
        with soundfile.SoundFile(BytesIO(content)) as stream:
            if stream.format != "FLAC":
                raise UnreadableSource("a compressed signal file that is not a FLAC stream")
            samples = stream.read(dtype="int32", always_2d=True)
            rate, encoding = stream.samplerate, stream.subtype
        soundfile.write(encoded, samples, rate, subtype=encoding, format="FLAC")
    except soundfile.LibsndfileError as error:
        raise UnreadableSource(f"a compressed signal file cannot be written ({type(error).__name__})") from None
    return encoded.getvalue()


def write_clean_dicom(source: Path, out: Path, identity: Identity) -> Cleaned:
    """Write a DICOM waveform with the listed header elements and the declared samples.

    Args:
        source: original DICOM file.
        out: path of the new file without a suffix.
        identity: identity of the patient.

    Raises:
        UnreadableSource: the file lacks a mandatory DICOM element, or cannot be written.
    """
    with refused_if_not_writable():
        return _write_dicom(parse_waveforms(source), out, identity)


def _write_dicom(dataset: Dataset, out: Path, identity: Identity) -> Cleaned:
    clean, removed = clean_dataset(dataset, identity=identity, standard=_WAVEFORM_STANDARD)
    for group in clean.WaveformSequence:
        count = int(group.NumberOfWaveformSamples) * int(group.NumberOfWaveformChannels)
        size = count * SAMPLE_BYTES[int(group.WaveformBitsAllocated)]
        group.WaveformData = group.WaveformData[:size] + b"\0" * (size % 2)
    return Cleaned(source=write_dataset(clean, out, identity), removed=+removed)
