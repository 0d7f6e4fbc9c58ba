"""What a WFDB header declares (header(5) of the WFDB manual), checked before any signal file is opened."""

from dataclasses import dataclass
from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.quiet_wfdb import parse_header_content, rx_record, rx_signal
from polyclinic_ecg.recording import check_dimensions, lead_index

_MAX_BYTES = 1_000_000
_LONGEST_LINE = 1000
_MAX_LENGTH = 10**12
_OUTSIDE = ("/", "\\", ":", "..")


@dataclass(frozen=True)
class Declared:
    """A header's claims.

    Attributes:
        rate: samples per second of the standard leads.
        encodings: storage formats, joined.
        units: one per signal, in the order of the header; ``mV`` where the header is silent, as header(5) says.
        checksums: one per signal; None where the header is silent.
    """

    rate: float
    encodings: str
    units: tuple[str, ...]
    checksums: tuple[int | None, ...]


def parse_header(header: Path) -> Declared:
    """Parse and check a header; wfdb's own grammar is used on text that is not stripped of its micro signs.

    Raises:
        UnreadableSource: not a header, several segments, a signal file outside its folder, or absurd dimensions.
    """
    lines, _ = parse_header_content(_text(header))
    if not lines:
        raise UnreadableSource("WFDB header without a record line")
    if max(map(len, lines)) > _LONGEST_LINE:
        raise UnreadableSource(f"not a WFDB header: a line of more than {_LONGEST_LINE:,} characters")
    rate, length = _record_line(lines[0], signals=len(lines) - 1)
    signals = [_signal_line(line) for line in lines[1:]]
    standard = [signal for signal in signals if lead_index(signal["sig_name"]) is not None]
    frames = {int(signal["samps_per_frame"] or 1) for signal in standard} or {1}
    if len(frames) > 1:
        raise UnreadableSource("leads of different rate; expected one rate for all standard leads")
    per_frame = frames.pop()
    total = sum(int(signal["samps_per_frame"] or 1) for signal in signals)
    check_dimensions(rate=rate * per_frame, length=length * per_frame, channels=-(-total // per_frame))
    return Declared(
        rate=rate * per_frame,
        encodings="+".join(sorted({signal["fmt"] for signal in signals})),
        units=tuple(signal["units"] or "mV" for signal in signals),
        checksums=tuple(int(signal["checksum"]) if signal["checksum"] else None for signal in signals),
    )


def _text(header: Path) -> str:
    try:
        with header.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"WFDB header cannot be opened ({type(error).__name__})") from None
    if not 0 < len(content) <= _MAX_BYTES:
        raise UnreadableSource(f"WFDB header is empty or larger than {_MAX_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _record_line(line: str, *, signals: int) -> tuple[float, int]:
    """Frames per second and number of frames."""
    match = rx_record.match(line)
    if match is None:
        raise UnreadableSource("not a WFDB header: the record line cannot be parsed")
    if match["n_seg"]:
        raise UnreadableSource("multi-segment WFDB record; expected a single segment, join the segments first")
    if int(match["n_sig"]) != signals:
        raise UnreadableSource(f"WFDB header declares {match['n_sig']} signals and lists {signals}")
    if not match["sig_len"]:
        raise UnreadableSource("WFDB header without a number of samples; add it to the record line")
    try:
        return float(match["fs"]), min(int(match["sig_len"]), _MAX_LENGTH)
    except ValueError:
        raise UnreadableSource("WFDB header without a sampling rate; add it to the record line") from None


def _signal_line(line: str) -> dict[str, str]:
    if any(part in line.split()[0] for part in _OUTSIDE):
        raise UnreadableSource("signal file outside the header's folder; expected a plain file name in the header")
    match = rx_signal.match(line)
    if match is None or not match["file_name"].strip("."):
        raise UnreadableSource("not a WFDB header: a signal line cannot be parsed")
    fields: dict[str, str] = match.groupdict()
    if int(fields["skew"] or 0):
        raise UnreadableSource("WFDB record with skewed signals; expected signals sampled at the same time")
    return fields
