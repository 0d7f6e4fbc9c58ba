"""Read a WFDB record (header and signal files) as standard leads."""

from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.wfdb_header import Declared, beside, header_lines, is_segmented, parse_header, parse_outline
from polyclinic_ecg.reading.wfdb_samples import read_samples
from polyclinic_ecg.reading.wfdb_segments import read_segments
from polyclinic_ecg.recording import Electrocardiogram, assemble, check_dimensions, lead_index


def header_of(path: Path) -> Path | None:
    """Return the header of ``record.hea``, ``record.dat`` or ``record``, in lower or upper case; None if missing."""
    if path.suffix.lower() == ".hea":
        return path if path.is_file() else None
    header = path.with_suffix(".hea") if path.suffix.lower() == ".dat" else path.with_name(f"{path.name}.hea")
    names = (header.name, f"{header.stem}.HEA", header.name.upper(), header.name.lower())
    return next((file for name in names if (file := path.with_name(name)).is_file()), None)


def read_wfdb(header: Path) -> Electrocardiogram:
    """Decode a record of one or more segments, and verify its lengths and checksums.

    Args:
        header: ``.hea`` file, in the folder of the signal files and the headers of segments.

    Raises:
        UnreadableSource: the header is invalid or refers to other folders, samples are truncated or altered, or leads
            cannot be used.
    """
    lines, ended = header_lines(header)
    if is_segmented(lines[0]):
        return read_segments(header, lines)
    declared = parse_header(lines, ended=ended)
    per_frame = declared.per_frame or 1
    rate = declared.frames_per_second * per_frame
    check_dimensions(rate=rate, length=declared.frames * per_frame, channels=declared.channels(per_frame))
    channels, verified = read_samples(header, declared)
    facts: dict[str, float | str] = {
        "format": "wfdb",
        "encoding": declared.encodings,
        "checksum": verified,
        "uncalibrated_leads": float(declared.uncalibrated),
        "layout": "single",
        "segments": 1.0,
    }
    return assemble(channels, rate=rate, facts=facts)


def record_files(header: Path) -> tuple[Path, ...]:
    """Return the existing files of a record: headers, then signal files, those with standard leads last.

    For an unreadable header, these are the files that can still be determined.
    """
    headers, signals = [header], list(_signal_files(header))
    for name in _segment_names(header):
        segment = beside(header, f"{name}.hea")
        if segment.is_file():
            headers.append(segment)
            signals.extend(_signal_files(segment))
    ordered = dict.fromkeys(path for _, path in sorted(signals, key=lambda signal: signal[0]))
    return (*dict.fromkeys(headers), *ordered)


def _segment_names(header: Path) -> list[str]:
    try:
        lines, _ = header_lines(header)
        return [name for name, _ in parse_outline(lines).segments if name] if is_segmented(lines[0]) else []
    except UnreadableSource:
        return []


def _signal_files(header: Path) -> list[tuple[bool, Path]]:
    """Return the existing signal files, each with True if it has a standard lead."""
    declared = _declared(header)
    has_leads: dict[Path, bool] = {}
    for signal in declared.signals if declared else ():
        path = header.with_name(signal.file)
        has_leads[path] = has_leads.get(path, False) or lead_index(signal.name) is not None
    return [(leads, path) for path, leads in has_leads.items() if path.is_file()]


def _declared(header: Path) -> Declared | None:
    try:
        lines, _ = header_lines(header)
        return parse_header(lines, ended=True)
    except UnreadableSource:
        return None
