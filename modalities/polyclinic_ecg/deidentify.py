"""Electrocardiograms without what names their patient: WFDB records under new names, DICOM with a clean header."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from polyclinic.modality import Cleaned, Identity, UnreadableSource, clean_dicom, labelled_names, profile_of
from polyclinic_ecg.dicom_waveform import SAMPLE_BYTES, parse_dicom
from polyclinic_ecg.quiet_wfdb import rx_record, rx_signal
from polyclinic_ecg.recording import LEADS, lead_index
from polyclinic_ecg.wfdb_header import BYTES_PER_SAMPLE, Declared, header_lines, is_segmented, parse_header

_PROFILE = profile_of(dicom_anonymization_database_selector("dicomfields_2026c"))
_BLOCKS = {"212": (2, 3), "310": (3, 4), "311": (3, 4)}
_NO_FILE = "~"


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


def _record_line(line: str, name: str, identity: Identity, removed: Counter[str]) -> str:
    match = rx_record.match(line)
    assert match is not None, "a record line was just parsed"
    segments = f"/{match['n_seg']}" if match["n_seg"] else ""
    parts = [f"{name}{segments}", match["n_sig"], match["fs"], match["sig_len"]]
    if match["base_time"] and (match["base_date"]):
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
    """The numbers of a line as they are; a unit and a name that are not those of a lead only if they name nobody."""
    match = rx_signal.match(line)
    assert match is not None, "a signal line was just parsed"
    unit, index = match["units"], lead_index(match["sig_name"])
    name = match["sig_name"] if index is None else LEADS[index]
    if index is None and identity.text(name)[1]:
        name = identity.mapped("signal", name)
        removed["names of signals"] += 1
    if index is None and identity.text(unit)[1]:
        unit = "NU"
        removed["units of signals"] += 1
    before = line[match.end("file_name") : match.start("units")]
    after = line[match.end("units") : match.start("sig_name")]
    return f"{files[match['file_name']]}{before}{unit}{after}{name}".rstrip()


def _samples(path: Path, declared: Declared) -> bytes:
    """What a header declares of a file: zeros for what lies before the samples, nothing of what lies behind them."""
    signals = [signal for signal in declared.signals if signal.file == path.name]
    encoding, offset = signals[0].encoding, signals[0].offset
    content = path.read_bytes()
    if encoding not in BYTES_PER_SAMPLE:
        return _flac_without_metadata(content)
    count = sum(signal.per_frame for signal in signals) * declared.frames
    together, size = _BLOCKS.get(encoding, (1, int(BYTES_PER_SAMPLE[encoding])))
    end = offset + math.ceil(count / together) * size
    return b"\0" * offset + content[offset:end]


def _flac_without_metadata(content: bytes) -> bytes:
    """The stream with its first metadata block alone, which says how to decode it (RFC 9639, section 8)."""
    if content[:4] != b"fLaC":
        raise UnreadableSource("a compressed signal file that is no FLAC stream")
    place, last = 4, False
    while not last:
        last = bool(content[place] & 0x80)
        end = place + 4 + int.from_bytes(content[place + 1 : place + 4], "big")
        if place == 4:
            first = bytes([content[4] | 0x80]) + content[5:end]
        place = end
    return content[:4] + first + content[place:]


def write_clean_dicom(source: Path, out: Path, identity: Identity) -> Cleaned:
    """Write a DICOM waveform with a header by the basic profile, and of its samples what the header declares.

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
    removed = clean_dicom(dataset, identity=identity, profile=_PROFILE, item=Dataset)
    for group in dataset.WaveformSequence:
        count = int(group.NumberOfWaveformSamples) * int(group.NumberOfWaveformChannels)
        size = count * SAMPLE_BYTES[int(group.WaveformBitsAllocated)]
        group.WaveformData = group.WaveformData[:size] + b"\0" * (size % 2)
    if not dataset.get("SOPInstanceUID"):
        dataset.SOPInstanceUID = identity.uid(out.name)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = out.with_name(f"{out.name}.dcm")
    FileDataset("", dict(dataset), file_meta=meta, preamble=b"\0" * 128).save_as(written, enforce_file_format=True)
    return Cleaned(source=written, removed=+removed)
