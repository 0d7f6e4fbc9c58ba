"""Check the lengths that RIFF, RF64, Ogg and FLAC files declare; libsndfile reads truncated files without an error."""

import mmap
import struct
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

from polyclinic.modality import UnreadableSource

_UNKNOWN_SIZE = 0xFFFFFFFF
_MAX_OGG_PAGE = 27 + 255 + 255 * 255
_FIRST_PAGE, _LAST_PAGE = 0x02, 0x04
_FLAC_START = b"fLaC\0\0\0\x22"
_MAX_DS64_SIZE = 100_000
_BYTE_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">"}


def refuse_truncated(path: Path) -> None:
    """Refuse files that are shorter than their container declares; WAV and RF64 streams of unknown length pass.

    The decoder checks the length of FLAC; for MPEG streams see ``scan_mpeg``.

    Raises:
        UnreadableSource: the file cannot be opened, is empty, is truncated, or consists of several joined files.
    """
    try:
        with path.open("rb") as stream:
            signature = stream.read(12)
            if not signature:
                raise UnreadableSource("file is empty")
            if signature[:4] in _BYTE_ORDERS and signature[8:] == b"WAVE":
                _refuse_short_riff(stream, signature[:4])
            elif signature[:4] == b"BW64":
                raise UnreadableSource("got a BW64 file, expected flac, mp3, ogg, wav")
            elif signature[:4] == b"OggS":
                _refuse_unfinished_ogg(stream)
                _refuse_chained_ogg(stream)
            elif signature[:4] == b"fLaC":
                _refuse_joined_flac(stream)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None


def _refuse_short_riff(stream: BinaryIO, form: bytes) -> None:
    """Walk the chunks to ``data`` (Multimedia Programming Interface and Data Specifications 1.0, 1991; EBU 3306)."""
    name_of, long_sizes = "RF64" if form == b"RF64" else "WAV", dict[bytes, int]()
    end = stream.seek(0, SEEK_END)
    stream.seek(12)
    while len(header := stream.read(8)) == 8:
        name, declared = struct.unpack(f"{_BYTE_ORDERS[form]}4sI", header)
        start = stream.tell()
        if form == b"RF64" and name == b"ds64":
            long_sizes = _long_sizes(stream.read(min(declared, _MAX_DS64_SIZE)))
        if declared == _UNKNOWN_SIZE:
            declared = long_sizes.get(name, _UNKNOWN_SIZE)
        if name == b"data":
            if declared != _UNKNOWN_SIZE and end - start < declared:
                raise UnreadableSource(f"{name_of} is cut short: got {end - start} of {declared} declared bytes")
            return
        stream.seek(min(end, start + declared + declared % 2))
    raise UnreadableSource(f"{name_of} without a data chunk")


def _long_sizes(content: bytes) -> dict[bytes, int]:
    """Return 64-bit sizes by chunk, for chunks whose header states 0xFFFFFFFF."""
    if len(content) < 28:
        raise UnreadableSource("RF64 whose ds64 chunk is cut short")
    _, data, _, entries = struct.unpack("<QQQI", content[:28])
    count = min(entries, (len(content) - 28) // 12)
    return {**dict(struct.iter_unpack("<4sQ", content[28 : 28 + 12 * count])), b"data": data}


def _refuse_unfinished_ogg(stream: BinaryIO) -> None:
    """Require a complete last page with the end-of-stream flag (RFC 3533, section 6)."""
    size = stream.seek(0, SEEK_END)
    stream.seek(max(0, size - _MAX_OGG_PAGE))
    tail = stream.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    complete = len(page) > 26 and len(page) >= 27 + page[26] + sum(segments)
    if not complete or not page[5] & _LAST_PAGE:
        raise UnreadableSource("OGG is cut short: its last page is not the end of the stream")


def _refuse_chained_ogg(stream: BinaryIO) -> None:
    """Refuse chained streams (RFC 3533, section 4), of which libsndfile decodes only the first."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place, begun = 0, False
        while content[place : place + 4] == b"OggS" and len(head := content[place : place + 27]) == 27:
            first = bool(head[5] & _FIRST_PAGE)
            if first and begun:
                raise UnreadableSource("several OGG streams joined in one file, of which only the first would be read")
            begun = begun or not first
            place += 27 + head[26] + sum(content[place + 27 : place + 27 + head[26]])


def _refuse_joined_flac(stream: BinaryIO) -> None:
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_FLAC_START, 4) > 0:
            raise UnreadableSource("several FLAC streams joined in one file, of which only the first would be read")
