"""Electrocardiograms without what names their patient: WFDB records under new names, DICOM with a clean header."""

import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from datetime import date
from io import BytesIO
from pathlib import Path

import soundfile
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UID_dictionary

from polyclinic.modality import Cleaned, DicomStandard, Identity, UnreadableSource, clean_dicom, labelled_names
from polyclinic_ecg.reading.dicom_waveform import SAMPLE_BYTES, parse_dicom
from polyclinic_ecg.reading.quiet_wfdb import rx_record, rx_signal
from polyclinic_ecg.reading.wfdb_header import BYTES_PER_SAMPLE, Declared, header_lines, is_segmented, parse_header
from polyclinic_ecg.recording import LEADS, lead_index

_BLOCKS = {"212": (2, 3), "310": (3, 4), "311": (3, 4)}
_NO_FILE = "~"
_CLOCK = re.compile(r"\d{1,2}(?::\d{2}){0,2}(?:\.\d{1,3})?")
# In lower case; a description is free text, in which anything else may be a name.
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
# What header(5) needs fewer digits for than a register or a telephone; of ADC zero and baseline, by the format.
_LARGEST = {"skew": 9999, "adc_gain": 999_999, "adc_res": 32, "checksum": 65_535, "block_size": 0}
_STORED = ("baseline", "adc_zero", "init_value")
_WIDE, _NARROW = 2**31, 65_536
_DIGITS = 6
"""That are written of a rate, and of a gain that no lead has: further ones could be those of a telephone."""


def comment_names(header: Path) -> list[str]:
    """Names that the comments of a WFDB header tell by a label."""
    lines = header.read_bytes().decode("latin-1").splitlines()
    return labelled_names("\n".join(line.lstrip("# \t") for line in lines if line.startswith("#")))


def write_clean_record(header: Path, out: Path, identity: Identity) -> Cleaned:
    """Write a WFDB record anew: headers from their fields alone, and of signal files what the headers declare.

    Comments go, as nothing says which of them are free text; base dates move. Lines are rebuilt, so that whatever a
    header holds beside its fields is not copied.

    Raises:
        UnreadableSource: a header or a signal file that is not as ``read`` accepts it.
    """
    removed = Counter[str]()
    lines, _ = header_lines(header)
    if is_segmented(lines[0]):
        written = _write_outline(header, lines, out, identity, removed)
    else:
        written = _write_segment(header, out, identity, removed)
    return Cleaned(source=written, removed=+removed)


def _write_outline(header: Path, lines: list[str], out: Path, identity: Identity, removed: Counter[str]) -> Path:
    names: dict[str, str] = {_NO_FILE: _NO_FILE}
    told = [_record_line(lines[0], out.name, identity, removed)]
    for line in lines[1:]:
        name, length = line.split()
        if name not in names:
            names[name] = f"{out.name}_{len(names):04d}"
            _write_segment(header.with_name(f"{name}.hea"), out.with_name(names[name]), identity, removed)
        told.append(f"{names[name]} {length}")
    return _write_header(header, out, told, removed)


def _write_segment(header: Path, out: Path, identity: Identity, removed: Counter[str]) -> Path:
    lines, ended = header_lines(header)
    declared = parse_header(lines, ended=ended)
    files = _new_names(declared, out.name)
    for old, new in files.items():
        if old != _NO_FILE:
            (out.with_name(new)).write_bytes(_samples(header.with_name(old), declared))
    told = [_record_line(lines[0], out.name, identity, removed)]
    told += [_signal_line(line, files, identity, removed) for line in lines[1:]]
    return _write_header(header, out, told, removed)


def _new_names(declared: Declared, record: str) -> dict[str, str]:
    olds = list(dict.fromkeys(signal.file for signal in declared.signals if signal.file != _NO_FILE))
    one = len(olds) == 1
    return {_NO_FILE: _NO_FILE, **{old: f"{record}.dat" if one else f"{record}_{i}.dat" for i, old in enumerate(olds)}}


def _write_header(header: Path, out: Path, lines: list[str], removed: Counter[str]) -> Path:
    stored = header.read_bytes().splitlines()
    removed["comment lines"] += sum(line.lstrip().startswith(b"#") for line in stored)
    written = out.with_name(f"{out.name}.hea")
    written.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def signal_label(name: str) -> str:
    """The name of a lead as this plugin writes it, that of another known signal as it is, empty for any other."""
    index = lead_index(name)
    if index is not None:
        return LEADS[index]
    return name.strip() if name.strip().casefold() in _SIGNALS else ""


STANDARD = DicomStandard(
    item=Dataset,
    keyword=keyword_for_tag,
    sop_classes={uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class"},
    label=signal_label,
)
"""What pydicom knows, and how this plugin writes channels."""


def _record_line(line: str, name: str, identity: Identity, removed: Counter[str]) -> str:
    match = rx_record.match(line)
    assert match is not None, "a record line was just parsed"
    segments = f"/{match['n_seg']}" if match["n_seg"] else ""
    parts = [f"{name}{segments}", match["n_sig"], f"{float(match['fs']):.{_DIGITS}g}", match["sig_len"]]
    if match["base_date"] and _CLOCK.fullmatch(match["base_time"]):
        removed["dates"] += 1
        moved = _moved(match["base_date"], identity)
        parts += [match["base_time"], moved] if moved else [match["base_time"]]
    return " ".join(parts)


def _moved(base_date: str, identity: Identity) -> str:
    """Day, month and year as header(5) writes them; empty where there is no such day."""
    try:
        day, month, year = map(int, base_date.split("/"))
        moved = identity.moved(date(year, month, day))
    except ValueError:
        return ""
    return f"{moved.day:02d}/{moved.month:02d}/{moved.year:04d}" if moved else ""


def _signal_line(line: str, files: Mapping[str, str], identity: Identity, removed: Counter[str]) -> str:
    """The numbers of a line as far as they are in range, a known unit, and a known or mapped name."""
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
    stored = _WIDE if match["fmt"] in ("24", "32", "524") else _NARROW
    for group, most in {**_LARGEST, **dict.fromkeys(_STORED, stored)}.items():
        if match[group] and abs(_number(match[group])) > most:
            changed[group] = "0"
            removed["numbers out of range"] += 1
    written = match[0]
    for group in sorted(changed, key=match.start, reverse=True):
        written = written[: match.start(group)] + changed[group] + written[match.end(group) :]
    return written.strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


def _samples(path: Path, declared: Declared) -> bytes:
    """What a header declares of a file: zeros for what lies before the samples, nothing of what lies behind them."""
    signals = [signal for signal in declared.signals if signal.file == path.name]
    encoding, offset = signals[0].encoding, signals[0].offset
    content = path.read_bytes()
    if encoding not in BYTES_PER_SAMPLE:
        return _flac_anew(content)
    count = sum(signal.per_frame for signal in signals) * declared.frames
    together, size = _BLOCKS.get(encoding, (1, int(BYTES_PER_SAMPLE[encoding])))
    end = offset + math.ceil(count / together) * size
    return b"\0" * offset + content[offset:end]


def _flac_anew(content: bytes) -> bytes:
    """The samples of a stream, encoded again: tags before, in and behind it stay behind."""
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
    """Write a DICOM waveform with the listed elements of its header, and of its samples what the header declares.

    Raises:
        UnreadableSource: it lacks what every DICOM file must have, or cannot be written.
    """
    with warnings.catch_warnings():
        # pydicom warns of every odd value; what matters is whether the samples are the same afterwards.
        warnings.simplefilter("ignore")
        try:
            return _write_dicom(parse_dicom(source), out, identity)
        except (UnreadableSource, OSError):
            raise
        except Exception as error:
            raise UnreadableSource(f"its header cannot be cleaned or written ({type(error).__name__})") from None


def _write_dicom(dataset: Dataset, out: Path, identity: Identity) -> Cleaned:
    if not dataset.get("SOPClassUID"):
        raise UnreadableSource("DICOM without a SOP Class UID, which a file must have")
    clean, removed = clean_dicom(dataset, identity=identity, standard=STANDARD)
    for group in clean.WaveformSequence:
        count = int(group.NumberOfWaveformSamples) * int(group.NumberOfWaveformChannels)
        size = count * SAMPLE_BYTES[int(group.WaveformBitsAllocated)]
        group.WaveformData = group.WaveformData[:size] + b"\0" * (size % 2)
    if not clean.get("SOPInstanceUID"):
        clean.SOPInstanceUID = identity.uid(out.name)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = clean.SOPClassUID, clean.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = out.with_name(f"{out.name}.dcm")
    FileDataset("", dict(clean), file_meta=meta, preamble=b"\0" * 128).save_as(written, enforce_file_format=True)
    return Cleaned(source=written, removed=+removed)
