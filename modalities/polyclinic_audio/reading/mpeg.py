"""Count the frames of MPEG audio (ISO 11172-3 and 13818-3), because a stream need not state its length.

libsndfile estimates the length of a stream without a Xing frame from the size of its first frame, which is wrong at a
variable bit rate, and stops where the first of several joined streams ends.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from polyclinic.modality import UnreadableSource

_KBITS = {  # by version and layer; index 0 is free format, 15 is forbidden
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_HAS_FRAMES, _HAS_BYTES = 1, 2
_MONO = 3
_MAX_BYTES = 1_000_000_000
_LAME = re.compile(rb"LAME|Lav[cf]|GOGO|L3\.99")
_MAX_LYRICS_SIZE = 5200
_UNTAGGED = "MPEG stream with bytes between its frames that are neither sound nor a tag"


class Header(NamedTuple):
    """Header of a frame, from its first four bytes.

    Attributes:
        version: 1, or 2 for the lower sampling rates of MPEG-2 and 2.5.
        layer: 1, 2 or 3.
        rate: sampling rate in Hz.
        channels: 1 or 2.
        size: bytes of the frame.
        samples: samples per channel.
        side: bytes between the header and a Xing tag, which only layer III has.
    """

    version: int
    layer: int
    rate: int
    channels: int
    size: int
    samples: int
    side: int

    @property
    def kind(self) -> tuple[int, int, int, int]:
        """Return the properties that all frames of a stream share."""
        return self.version, self.layer, self.rate, self.channels


@dataclass(frozen=True)
class Stream:
    """Frames of a file that hold sound.

    Attributes:
        content: content of the file.
        header: header of the first frame.
        places: start and end of each frame.
        info: Xing or Info frame with the right number of frames, or empty.
        trimmed: samples that ``info`` declares as encoder padding.
    """

    content: bytes
    header: Header
    places: tuple[tuple[int, int], ...]
    info: bytes
    trimmed: int

    @property
    def samples(self) -> int:
        """Return the number of samples per channel, without declared encoder padding."""
        return len(self.places) * self.header.samples - self.trimmed


def scan_mpeg(path: Path, *, max_seconds: float) -> Stream:
    """Find the frames of an MPEG stream, or of several joined streams.

    Raises:
        UnreadableSource: the stream is longer than ``max_seconds`` or truncated, its parts differ in kind, or it has
            bytes that belong to no frame or tag.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UnreadableSource(f"MPEG file larger than {_MAX_BYTES:,} bytes")
    content = path.read_bytes()
    first: Header | None = None
    places: list[tuple[int, int]] = []
    infos: list[bytes] = []
    for place, header in _frames(content):
        first = first or header
        if header.kind != first.kind:
            raise UnreadableSource("MPEG streams of different rate, layer or channels were joined in one file")
        frame = content[place : place + header.size]
        if _tag(frame, header):
            infos.append(frame)
            continue
        places.append((place, place + header.size))
        if len(places) * header.samples > max_seconds * header.rate + 2 * header.samples:
            raise UnreadableSource(f"sound of more than {max_seconds:g} s; set `max_seconds`")
    if first is None or not places:
        raise UnreadableSource("sound of zero length")
    info, trimmed = _trusted(infos, first, len(places))
    return Stream(content, first, tuple(places), info, trimmed)


def decodable(stream: Stream) -> BytesIO:
    """Return the stream with a leading frame that states its length, and without other tags."""
    frames = b"".join(stream.content[start:end] for start, end in stream.places)
    if stream.header.layer != 3:
        return BytesIO(frames)
    return BytesIO((stream.info or _info_frame(stream, len(frames))) + frames)


def parse_header(four: bytes) -> Header | None:
    """Parse the header of a frame; None if the bytes are not a header.

    Raises:
        UnreadableSource: the frame is of free format, so that its header does not state its size.
    """
    if len(four) < 4 or four[0] != 0xFF or four[1] & 0xE0 != 0xE0:
        return None
    generation, layer = four[1] >> 3 & 3, 4 - (four[1] >> 1 & 3)
    bits, rate, padding = four[2] >> 4, four[2] >> 2 & 3, four[2] >> 1 & 1
    if generation == 1 or layer == 4 or bits == 15 or rate == 3:
        return None
    if not bits:
        raise UnreadableSource("MPEG stream of free format; expected frames that state their bit rate")
    version, channels = (1 if generation == 3 else 2), (1 if four[3] >> 6 == _MONO else 2)
    kbits, hertz = _KBITS[version, layer][bits - 1], _RATES[generation][rate]
    if layer == 1:
        size, samples = (12_000 * kbits // hertz + padding) * 4, 384
    else:
        samples = 576 if layer == 3 and version == 2 else 1152
        size = 125 * samples * kbits // hertz + padding
    side = {(1, 1): 17, (1, 2): 32, (2, 1): 9, (2, 2): 17}[version, channels]
    return Header(version, layer, hertz, channels, size, samples, side)


def _frames(content: bytes) -> Iterator[tuple[int, Header]]:
    """Yield position and header of every frame, skipping tags and zeros between frames."""
    place, end = 0, len(content)
    headless = _headless_tags(content)
    while place < end:
        if header := parse_header(content[place : place + 4]):
            if place + header.size > end:
                raise UnreadableSource("MPEG stream is cut short in the middle of its last frame")
            yield place, header
            place += header.size
        elif skipped := headless.get(place) or _tag_size(content, place):
            place += skipped
        else:
            raise UnreadableSource(_UNTAGGED)


def _headless_tags(content: bytes) -> dict[int, int]:
    """Return the size of each APE tag without a header, by the position of its first item."""
    sizes: dict[int, int] = {}
    for match in re.finditer(b"APETAGEX", content):
        footer = content[match.start() : match.start() + 32]
        if len(footer) == 32:
            size, flags = struct.unpack("<I4xI", footer[12:24])
            if size > 32 and not flags & (1 << 29 | 1 << 31):
                sizes[match.start() + 32 - size] = size
    return sizes


def _tag_size(content: bytes, place: int) -> int:
    """Return the size of the tag, or run of zeros, that starts at a position; 0 if there is none."""
    head = content[place : place + 32]
    if head[:3] == b"ID3" and len(head) > 9:
        size = sum((byte & 0x7F) << 7 * power for power, byte in enumerate(reversed(head[6:10])))
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:4] == b"TAG+":
        return 227
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, flags = struct.unpack("<I4xI", head[12:24])
        return 32 + (size if flags & 1 << 29 else 0)
    if head[:11] == b"LYRICSBEGIN":
        last = re.compile(rb"LYRICS(?:END|200)").search(content, place, place + _MAX_LYRICS_SIZE)
        return last.end() - place if last else 0
    filled = re.compile(rb"\0*").match(content, place)
    return filled.end() - place if filled else 0


def _tag(frame: bytes, header: Header) -> bool:
    """Return whether a frame holds the length of a stream (Xing, Info, VBRI) instead of sound."""
    if header.layer != 3:
        return False
    protected = 0 if frame[1] & 1 else 2
    places = (4 + header.side, 4 + header.side + protected)
    return any(frame[place : place + 4] in (b"Xing", b"Info") for place in places) or frame[36:40] == b"VBRI"


def _trusted(infos: list[bytes], header: Header, counted: int) -> tuple[bytes, int]:
    """Return the leading frame that states the right number of frames, and the samples that it trims.

    Raises:
        UnreadableSource: more frames are declared than exist.
    """
    declared = [_declared(frame, header) for frame in infos]
    if missing := sum(frames for frames, _ in declared) - counted:
        # Without the tag of an encoder, the leading frame may count itself.
        tolerated = 0 if any(trimmed for _, trimmed in declared) else len(infos)
        if missing > tolerated:
            raise UnreadableSource(f"MPEG stream is cut short: got {counted} of {counted + missing} declared frames")
    if len(infos) == 1 and infos[0][36:40] != b"VBRI" and declared[0][0] == counted:
        return infos[0], declared[0][1]
    return b"", 0


def _declared(frame: bytes, header: Header) -> tuple[int, int]:
    """Return the number of frames that a Xing, Info or VBRI frame declares, and the samples of encoder padding."""
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return int(struct.unpack(">I", frame[50:54])[0]), 0
    start = next(place for place in range(4, 42) if frame[place : place + 4] in (b"Xing", b"Info"))
    flags = int.from_bytes(frame[start + 4 : start + 8], "big")
    frames = int.from_bytes(frame[start + 8 : start + 12], "big") if flags & _HAS_FRAMES else 0
    # The tag holds, if flagged, frames, bytes, a table of contents and a quality; then that of the encoder.
    tail = start + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if not _LAME.match(frame, tail) or len(frame) < tail + 24:
        return frames, 0
    # Two counts of 12 bits: encoder delay at the start, padding at the end.
    packed = int.from_bytes(frame[tail + 21 : tail + 24], "big")
    return frames, (packed >> 12) + (packed & 0xFFF)


def _info_frame(stream: Stream, size: int) -> bytes:
    """Build a frame of layer III without sound that declares the number of frames and bytes."""
    first = stream.content[stream.places[0][0] :][:4]
    header, room = stream.header, stream.header.side + 4 + 16
    for bits in range(1, 15):
        # No checksum, and the smallest bit rate whose frame has room for the tag.
        four = bytes([first[0], first[1] | 1, bits << 4 | first[2] & 0x0C, first[3]])
        parsed = parse_header(four)
        if parsed is not None and parsed.size >= room:
            break
    assert parsed is not None, "the frames of the stream have been parsed"
    tag = b"Info" + struct.pack(">III", _HAS_FRAMES | _HAS_BYTES, len(stream.places), parsed.size + size)
    return (four + bytes(header.side) + tag).ljust(parsed.size, b"\0")
