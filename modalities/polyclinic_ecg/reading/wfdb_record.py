"""From a WFDB record (header and signal files) to leads."""

from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.wfdb_header import Declared, beside, header_lines, is_segmented, parse_header, parse_outline
from polyclinic_ecg.reading.wfdb_samples import read_samples
from polyclinic_ecg.reading.wfdb_segments import read_segments
from polyclinic_ecg.recording import Electrocardiogram, assemble, check_dimensions, lead_index


def header_of(path: Path) -> Path | None:
    """The header that goes with ``record.hea``, ``record.dat`` or the bare ``record``, in small letters or capitals."""
    if path.suffix.lower() == ".hea":
        return path if path.is_file() else None
    beside_it = path.with_suffix(".hea") if path.suffix.lower() == ".dat" else path.with_name(f"{path.name}.hea")
    names = (beside_it.name, f"{beside_it.stem}.HEA", beside_it.name.upper(), beside_it.name.lower())
    return next((each for name in names if (each := path.with_name(name)).is_file()), None)


def read_wfdb(header: Path) -> Electrocardiogram:
    """Decode a record of one or several segments and verify its lengths and checksums.

    Args:
        header: the ``.hea`` file; signal files, and headers of segments, lie beside it.

    Raises:
        UnreadableSource: a header that is broken, absurd or points elsewhere, truncated or altered samples, or
            leads that cannot be used.
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
    """Every file of a record that is there: headers first, then signal files, those with standard leads last.

    Of a header that cannot be read, what it can be known to name.
    """
    headers, signals = [header], list(_signal_files(header))
    for name in _segment_names(header):
        segment = beside(header, f"{name}.hea")
        if segment.is_file():
            headers.append(segment)
            signals.extend(_signal_files(segment))
    kept = dict.fromkeys(path for _, path in sorted(signals, key=lambda each: each[0]))
    return (*dict.fromkeys(headers), *kept)


def _segment_names(header: Path) -> list[str]:
    try:
        lines, _ = header_lines(header)
        return [name for name, _ in parse_outline(lines).segments if name] if is_segmented(lines[0]) else []
    except UnreadableSource:
        return []


def _signal_files(header: Path) -> list[tuple[bool, Path]]:
    """Signal files that exist, and whether a standard lead is in them."""
    declared = _declared(header)
    found: dict[Path, bool] = {}
    for signal in declared.signals if declared else ():
        path = header.with_name(signal.file)
        found[path] = found.get(path, False) or lead_index(signal.name) is not None
    return [(leads, path) for path, leads in found.items() if path.is_file()]


def _declared(header: Path) -> Declared | None:
    try:
        lines, _ = header_lines(header)
        return parse_header(lines, ended=True)
    except UnreadableSource:
        return None
