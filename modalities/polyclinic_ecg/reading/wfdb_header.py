"""Parse and check a WFDB header (header(5) of the WFDB manual) before any signal file is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.quiet_wfdb import parse_header_content, rx_record, rx_signal
from polyclinic_ecg.recording import LEADS, is_modified, lead_index

BYTES_PER_SAMPLE = {
    **{"8": 1.0, "16": 2.0, "24": 3.0, "32": 4.0, "61": 2.0, "80": 1.0, "160": 2.0},
    **{"212": 3 / 2, "310": 4 / 3, "311": 4 / 3},
}
"""Bytes per sample of the storage formats in which all samples have the same size (signal(5))."""

_COMPRESSED = ("508", "516", "524")
_NO_FILE = "0"
_MAX_HEADER_BYTES = 1_000_000
_MAX_LINE_LENGTH = 1000
_MAX_FRAMES = 10**12
# Parts of a name that would leave the folder of the header.
_PATH_PARTS = ("/", "\\", ":", "..")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A signal line of a header.

    Attributes:
        file: plain name of the signal file.
        encoding: storage format, a number of signal(5).
        per_frame: samples in each frame of the record.
        skew: frames by which the samples are late relative to a signal without skew.
        offset: bytes before the first sample; in compressed formats, samples.
        unit: unit of the values; the default of header(5) is ``mV``.
        checksum: checksum of the samples, or None if the header states none.
        name: name of the lead or other signal.
        calibrated: True if the header states a gain; the default of header(5) is 200 units per mV.
    """

    file: str
    encoding: str
    per_frame: int
    skew: int
    offset: int
    unit: str
    checksum: int | None
    name: str
    calibrated: bool


@dataclass(frozen=True)
class Declared:
    """Parsed header of a record or segment.

    Attributes:
        frames_per_second: frame rate; a frame holds one or more samples of each signal.
        frames: number of frames.
        signals: signals in the order of the header.
        lines: lines of the header.
    """

    frames_per_second: float
    frames: int
    signals: tuple[Signal, ...]
    lines: tuple[str, ...]

    @property
    def per_frame(self) -> int | None:
        """Number of samples of a standard lead in each frame; None without a standard lead."""
        counts = {signal.per_frame for signal in self.signals if lead_index(signal.name) is not None}
        if len(counts) > 1:
            raise UnreadableSource("leads of different rate; expected one rate for all standard leads")
        return next(iter(counts), None)

    @property
    def uncalibrated(self) -> int:
        """Number of standard leads without a gain."""
        return sum(lead_index(signal.name) is not None and not signal.calibrated for signal in self.signals)

    @property
    def modified(self) -> tuple[str, ...]:
        """Names of modified limb leads."""
        return tuple(signal.name for signal in self.signals if is_modified(signal.name))

    @property
    def encodings(self) -> str:
        """Storage formats, joined by ``+``."""
        return "+".join(sorted({signal.encoding for signal in self.signals}))

    def channels(self, per_frame: int) -> int:
        """Return the number of channels of ``per_frame`` samples that hold as many values as all signals."""
        return -(-sum(signal.per_frame for signal in self.signals) // per_frame)


@dataclass(frozen=True)
class Outline:
    """Parsed header of a record with several segments.

    Attributes:
        frames_per_second: frame rate.
        frames: number of frames.
        signals: number of signals.
        segments: name and number of frames of each segment; the name of a gap is empty.
    """

    frames_per_second: float
    frames: int
    signals: int
    segments: tuple[tuple[str, int], ...]


def beside(header: Path, name: str) -> Path:
    """Return the file of a name in the folder of a header, or else the only file whose name differs in case.

    Raises:
        UnreadableSource: several files have that name in different cases.
    """
    path = header.with_name(name)
    if path.is_file() or not header.parent.is_dir():
        return path
    candidates = [file for file in header.parent.iterdir() if file.name.casefold() == name.casefold()]
    if len(candidates) > 1:
        raise UnreadableSource("several files whose names differ from that in the WFDB header in case only")
    return candidates[0] if candidates else path


def header_lines(header: Path) -> tuple[list[str], bool]:
    """Return the lines of a header without comments, and whether a line end follows the last of them.

    Names of signal files are replaced by those on disk, and a missing number of samples by that in the first file.
    wfdb's grammar is applied to text that, unlike in wfdb, retains its micro signs.

    Raises:
        UnreadableSource: the header is empty, too large, or has an overlong line.
    """
    text = _text(header)
    lines, _ = parse_header_content(text)
    if not lines:
        raise UnreadableSource("WFDB header without a record line")
    if max(map(len, lines)) > _MAX_LINE_LENGTH:
        raise UnreadableSource(f"not a WFDB header: a line of more than {_MAX_LINE_LENGTH:,} characters")
    ended = text.splitlines(keepends=True)[-1].strip() != lines[-1] or text.endswith(("\n", "\r"))
    if is_segmented(lines[0]):
        return lines, ended
    signals = [_as_on_disk(header, line) for line in lines[1:]]
    return [_with_length(header, lines[0], signals), *signals], ended


def _as_on_disk(header: Path, line: str) -> str:
    name, *_ = line.split(maxsplit=1)
    if any(part in name for part in _PATH_PARTS):
        return line
    return line.replace(name, beside(header, name).name, 1)


def _with_length(header: Path, line: str, signals: Sequence[str]) -> str:
    """Add the optional number of samples (header(5)) to a record line, from the size of the first signal file."""
    match = rx_record.match(line)
    if match is None or not match["fs"] or int(match["sig_len"] or 0):
        return line
    try:
        parsed = [_signal(text) for text in signals]
    except UnreadableSource:
        return line
    first = [signal for signal in parsed if signal.file == parsed[0].file]
    size = BYTES_PER_SAMPLE.get(first[0].encoding) if first else None
    if size is None or not header.with_name(first[0].file).is_file():
        return line
    content_bytes = header.with_name(first[0].file).stat().st_size - first[0].offset
    frames = int(content_bytes / (size * sum(signal.per_frame for signal in first)))
    if match["sig_len"]:
        return f"{line[: match.start('sig_len')]}{frames}{line[match.end('sig_len') :]}"
    return f"{line.rstrip()} {frames}"


def is_segmented(line: str) -> bool:
    """Return True for the record line of a record with several segments."""
    match = rx_record.match(line)
    return match is not None and bool(match["n_seg"])


def parse_header(lines: Sequence[str], *, ended: bool) -> Declared:
    """Parse the header of a record with one segment.

    Args:
        lines: lines from ``header_lines``.
        ended: True if a line end follows the last line.

    Raises:
        UnreadableSource: the lines are not a header, have several segments, name a signal file outside the folder, or
            may be cut in the name of a lead.
    """
    if is_segmented(lines[0]):
        raise UnreadableSource("WFDB segment that consists of segments; expected samples")
    rate, frames, count = _record_line(lines[0])
    if count != len(lines) - 1:
        raise UnreadableSource(f"WFDB header declares {count} signals and lists {len(lines) - 1}")
    signals = tuple(_signal(line) for line in lines[1:])
    if signals and not ended and _may_be_cut(signals[-1].name):
        raise UnreadableSource("WFDB header ends in the middle of a line: it was cut; if it was not, add a line end")
    for signal in signals:
        first = next(other for other in signals if other.file == signal.file)
        if (signal.encoding, signal.offset) != (first.encoding, first.offset):
            raise UnreadableSource("signals of one file in different storage formats; expected one format per file")
    return Declared(rate, frames, signals, tuple(lines))


def parse_outline(lines: Sequence[str]) -> Outline:
    """Parse the header of a record with several segments.

    Raises:
        UnreadableSource: the lines are not such a header, name a segment outside the folder, or state lengths that do
            not add up.
    """
    rate, frames, signals = _record_line(lines[0])
    match = rx_record.match(lines[0])
    assert match is not None, "a record line was just parsed"
    segments = tuple(_segment(line) for line in lines[1:])
    if int(match["n_seg"]) != len(segments):
        raise UnreadableSource(f"WFDB header declares {match['n_seg']} segments and lists {len(segments)}")
    if any(length == 0 for _, length in segments[1:]):
        raise UnreadableSource("WFDB segment without samples; only the first may be empty, as layout of the others")
    if sum(length for _, length in segments) != frames:
        raise UnreadableSource("WFDB segments whose lengths do not add up to that of the record")
    return Outline(rate, frames, signals, segments)


def _text(header: Path) -> str:
    try:
        with header.open("rb") as stream:
            content = stream.read(_MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"WFDB header cannot be opened ({type(error).__name__})") from None
    if not 0 < len(content) <= _MAX_HEADER_BYTES:
        raise UnreadableSource(f"WFDB header is empty or larger than {_MAX_HEADER_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _record_line(line: str) -> tuple[float, int, int]:
    """Return frames per second, number of frames, and number of signals."""
    match = rx_record.match(line)
    if match is None:
        raise UnreadableSource("not a WFDB header: the record line cannot be parsed")
    if not match["sig_len"]:
        raise UnreadableSource("WFDB header without a number of samples; add it to the record line")
    try:
        return float(match["fs"]), min(int(match["sig_len"]), _MAX_FRAMES), int(match["n_sig"])
    except ValueError:
        raise UnreadableSource("WFDB header without a sampling rate; add it to the record line") from None


def _signal(line: str) -> Signal:
    if any(part in line.split()[0] for part in _PATH_PARTS):
        raise UnreadableSource("signal file outside the header's folder; expected a plain file name in the header")
    match = rx_signal.match(line)
    if match is None or not match["file_name"].strip("."):
        raise UnreadableSource("not a WFDB header: a signal line cannot be parsed")
    if match["fmt"] not in (*BYTES_PER_SAMPLE, *_COMPRESSED, _NO_FILE):
        raise UnreadableSource(f"WFDB signal in storage format {match['fmt'][:9]}, which signal(5) does not have")
    return Signal(
        file=match["file_name"],
        encoding=match["fmt"],
        per_frame=max(1, int(match["samps_per_frame"] or 1)),
        skew=int(match["skew"] or 0),
        offset=int(match["byte_offset"] or 0),
        unit=match["units"] or "mV",
        checksum=int(match["checksum"]) if match["checksum"] else None,
        name=match["sig_name"],
        calibrated=bool(match["adc_gain"]) and float(match["adc_gain"]) != 0,
    )


def _segment(line: str) -> tuple[str, int]:
    """Return the name of a segment, empty for a gap, and its length in frames."""
    name, *rest = line.split()
    if any(part in name for part in _PATH_PARTS):
        raise UnreadableSource("segment outside the header's folder; expected a plain name in the header")
    if len(rest) != 1 or not rest[0].isascii() or not rest[0].isdigit():
        raise UnreadableSource("not a WFDB header: a segment line cannot be parsed")
    return "" if name == "~" else name, min(int(rest[0]), _MAX_FRAMES)


def _may_be_cut(name: str) -> bool:
    """Return True if the name at the end of a header can be the beginning of the name of a lead."""
    index = lead_index(name)
    return index is None or any(lead != LEADS[index] and lead.startswith(LEADS[index]) for lead in LEADS)
