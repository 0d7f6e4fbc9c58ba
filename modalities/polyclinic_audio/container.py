"""Truncation that libsndfile would pass over in silence: the lengths that RIFF and Ogg declare themselves."""

import struct
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

from polyclinic.modality import UnreadableSource

_UNSTATED = 0xFFFFFFFF
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255
_LAST_PAGE = 0x04


def refuse_truncated(path: Path) -> None:
    """Compare what the container declares with what is there; a stream of unstated length passes.

    FLAC declares its length to the decoder, and the frames of an MP3 stand for themselves.

    Raises:
        UnreadableSource: the file cannot be opened, is empty, or ends before its declared end.
    """
    try:
        with path.open("rb") as stream:
            signature = stream.read(12)
            if not signature:
                raise UnreadableSource("file is empty")
            if signature[:4] == b"RIFF" and signature[8:] == b"WAVE":
                _refuse_short_riff(stream)
            elif signature[:4] == b"OggS":
                _refuse_unfinished_ogg(stream)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None


def _refuse_short_riff(stream: BinaryIO) -> None:
    """Walk the chunks to ``data`` (Multimedia Programming Interface and Data Specifications 1.0, 1991)."""
    while len(header := stream.read(8)) == 8:
        name, declared = struct.unpack("<4sI", header)
        start = stream.tell()
        if name == b"data":
            stored = stream.seek(0, SEEK_END) - start
            if declared != _UNSTATED and stored < declared:
                raise UnreadableSource(f"WAV is cut short: got {stored} of {declared} declared bytes")
            return
        stream.seek(start + declared + declared % 2)
    raise UnreadableSource("WAV without a data chunk")


def _refuse_unfinished_ogg(stream: BinaryIO) -> None:
    """The last page must be whole and carry the end-of-stream flag (RFC 3533, section 6)."""
    size = stream.seek(0, SEEK_END)
    stream.seek(max(0, size - _LARGEST_OGG_PAGE))
    tail = stream.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(segments)
    if not whole or not page[5] & _LAST_PAGE:
        raise UnreadableSource("OGG is cut short: its last page is not the end of the stream")
