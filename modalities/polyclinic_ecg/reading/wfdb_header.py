"""What a WFDB header declares (header(5) of the WFDB manual), checked before any signal file is opened."""

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
"""Of the storage formats in which every sample takes equally much (signal(5))."""

_COMPRESSED = ("508", "516", "524")
_NO_FILE = "0"
_MAX_BYTES = 1_000_000
_LONGEST_LINE = 1000
_MAX_LENGTH = 10**12
_OUTSIDE = ("/", "\\", ":", "..")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One signal line.

    Attributes:
        file: plain name of the signal file.
        encoding: storage format, a number of signal(5).
        per_frame: samples in each frame of the record.
        skew: frames by which its samples lie behind those of a signal without skew.
        offset: bytes before its first sample; samples in compressed formats.
        unit: ``mV`` where the header is silent, as header(5) says.
        checksum: None where the header is silent.
        name: of the lead, or of any other signal.
        calibrated: whether the header states a gain; without one, header(5) has 200 units per mV assumed.
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
    """A header's claims.

    Attributes:
        frames_per_second: a frame holds one sample or more of each signal.
        frames: in the record.
        signals: in the order of the header.
        lines: of the header.
    """

    frames_per_second: float
    frames: int
    signals: tuple[Signal, ...]
    lines: tuple[str, ...]

    @property
    def per_frame(self) -> int | None:
        """Samples of a standard lead in each frame; None without a standard lead."""
        found = {signal.per_frame for signal in self.signals if lead_index(signal.name) is not None}
        if len(found) > 1:
            raise UnreadableSource("leads of different rate; expected one rate for all standard leads")
        return next(iter(found), None)

    @property
    def uncalibrated(self) -> int:
        """How many standard leads have no gain."""
        return sum(lead_index(signal.name) is not None and not signal.calibrated for signal in self.signals)

    @property
    def modified(self) -> tuple[str, ...]:
        """Names of modified limb leads."""
        return tuple(signal.name for signal in self.signals if is_modified(signal.name))

    @property
    def encodings(self) -> str:
        """Storage formats, joined."""
        return "+".join(sorted({signal.encoding for signal in self.signals}))

    def channels(self, per_frame: int) -> int:
        """How many channels of ``per_frame`` samples take as much room as all signals."""
        return -(-sum(signal.per_frame for signal in self.signals) // per_frame)


@dataclass(frozen=True)
class Outline:
    """What a header of several segments declares: rate and length in frames, and name and length of each segment.

    A segment of no name is a gap. ``signals`` is how many the record has.
    """

    frames_per_second: float
    frames: int
    signals: int
    segments: tuple[tuple[str, int], ...]


def beside(header: Path, name: str) -> Path:
    """The file of a name beside a header; if there is none, the only one whose name differs in case.

    Raises:
        UnreadableSource: several files have that name in other cases.
    """
    path = header.with_name(name)
    if path.is_file() or not header.parent.is_dir():
        return path
    found = [each for each in header.parent.iterdir() if each.name.casefold() == name.casefold()]
    if len(found) > 1:
        raise UnreadableSource("several files whose names differ from that in the WFDB header in case only")
    return found[0] if found else path


def header_lines(header: Path) -> tuple[list[str], bool]:
    """The lines of a header that are no comments, and whether the last of them is ended by a line end.

    Signal files have their names as they lie beside the header, and a record without a number of samples has the one
    that its first file holds. wfdb's own grammar is used on text that is not stripped of its micro signs.

    Raises:
        UnreadableSource: empty, too large, or of lines that no header has.
    """
    text = _text(header)
    lines, _ = parse_header_content(text)
    if not lines:
        raise UnreadableSource("WFDB header without a record line")
    if max(map(len, lines)) > _LONGEST_LINE:
        raise UnreadableSource(f"not a WFDB header: a line of more than {_LONGEST_LINE:,} characters")
    ended = text.splitlines(keepends=True)[-1].strip() != lines[-1] or text.endswith(("\n", "\r"))
    if is_segmented(lines[0]):
        return lines, ended
    signals = [_as_on_disk(header, line) for line in lines[1:]]
    return [_with_length(header, lines[0], signals), *signals], ended


def _as_on_disk(header: Path, line: str) -> str:
    name, *_ = line.split(maxsplit=1)
    if any(part in name for part in _OUTSIDE):
        return line
    return line.replace(name, beside(header, name).name, 1)


def _with_length(header: Path, line: str, signals: Sequence[str]) -> str:
    """The record line with a number of samples, which header(5) has optional, where the first file shows it."""
    match = rx_record.match(line)
    if match is None or not match["fs"] or int(match["sig_len"] or 0):
        return line
    try:
        parsed = [_signal(each) for each in signals]
    except UnreadableSource:
        return line
    first = [each for each in parsed if each.file == parsed[0].file]
    size = BYTES_PER_SAMPLE.get(first[0].encoding) if first else None
    if size is None or not header.with_name(first[0].file).is_file():
        return line
    held = header.with_name(first[0].file).stat().st_size - first[0].offset
    frames = int(held / (size * sum(each.per_frame for each in first)))
    if match["sig_len"]:
        return f"{line[: match.start('sig_len')]}{frames}{line[match.end('sig_len') :]}"
    return f"{line.rstrip()} {frames}"


def is_segmented(line: str) -> bool:
    """Whether a record line is that of several segments."""
    match = rx_record.match(line)
    return match is not None and bool(match["n_seg"])


def parse_header(lines: Sequence[str], *, ended: bool) -> Declared:
    """Check the lines of a header of one segment.

    Args:
        lines: as ``header_lines`` gives them.
        ended: whether a line end follows the last.

    Raises:
        UnreadableSource: not a header, several segments, a signal file outside its folder, or cut in a lead's name.
    """
    if is_segmented(lines[0]):
        raise UnreadableSource("WFDB segment that has segments itself; expected samples")
    rate, frames, count = _record_line(lines[0])
    if count != len(lines) - 1:
        raise UnreadableSource(f"WFDB header declares {count} signals and lists {len(lines) - 1}")
    signals = tuple(_signal(line) for line in lines[1:])
    if signals and not ended and _may_go_on(signals[-1].name):
        raise UnreadableSource("WFDB header ends in the middle of a line: it was cut; if it was not, add a line end")
    for signal in signals:
        other = next(each for each in signals if each.file == signal.file)
        if (signal.encoding, signal.offset) != (other.encoding, other.offset):
            raise UnreadableSource("signals of one file in different storage formats; expected one format per file")
    return Declared(rate, frames, signals, tuple(lines))


def parse_outline(lines: Sequence[str]) -> Outline:
    """Check the lines of a header of several segments.

    Raises:
        UnreadableSource: not such a header, a segment outside its folder, or lengths that do not add up.
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
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"WFDB header cannot be opened ({type(error).__name__})") from None
    if not 0 < len(content) <= _MAX_BYTES:
        raise UnreadableSource(f"WFDB header is empty or larger than {_MAX_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _record_line(line: str) -> tuple[float, int, int]:
    """Frames per second, number of frames, and number of signals."""
    match = rx_record.match(line)
    if match is None:
        raise UnreadableSource("not a WFDB header: the record line cannot be parsed")
    if not match["sig_len"]:
        raise UnreadableSource("WFDB header without a number of samples; add it to the record line")
    try:
        return float(match["fs"]), min(int(match["sig_len"]), _MAX_LENGTH), int(match["n_sig"])
    except ValueError:
        raise UnreadableSource("WFDB header without a sampling rate; add it to the record line") from None


def _signal(line: str) -> Signal:
    if any(part in line.split()[0] for part in _OUTSIDE):
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
    """Name, empty for a gap, and length in frames."""
    name, *rest = line.split()
    if any(part in name for part in _OUTSIDE):
        raise UnreadableSource("segment outside the header's folder; expected a plain name in the header")
    if len(rest) != 1 or not rest[0].isascii() or not rest[0].isdigit():
        raise UnreadableSource("not a WFDB header: a segment line cannot be parsed")
    return "" if name == "~" else name, min(int(rest[0]), _MAX_LENGTH)


def _may_go_on(name: str) -> bool:
    """Whether the name at the end of a header can be the beginning of a lead's."""
    index = lead_index(name)
    return index is None or any(lead != LEADS[index] and lead.startswith(LEADS[index]) for lead in LEADS)
