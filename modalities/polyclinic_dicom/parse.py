"""Parse DICOM files within bounds: pydicom inflates a deflated file (PS3.5 A.5) without a limit."""

import zlib
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from polyclinic.modality import UnreadableSource

_CHUNK_BYTES = 2**20
_MAX_FILE_BYTES = 500_000_000


def parse_dicom(path: Path, *, max_inflated: int, expected: str) -> Dataset:
    """Parse a DICOM file without decoding its pixels or samples; the dataset may be empty.

    Args:
        path: DICOM file with or without the 128-byte preamble.
        max_inflated: largest size of an inflated file in bytes.
        expected: name of the expected format, for the message.

    Raises:
        UnreadableSource: the file is too large, inflates to too much, or cannot be parsed.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UnreadableSource(f"DICOM file larger than {_MAX_FILE_BYTES:,} bytes")
        # In memory, an element that claims gigabytes yields the bytes that exist; a file would be allocated in full.
        content = path.read_bytes()
        _refuse_deflate_bomb(content, limit=max_inflated)
        return pydicom.dcmread(BytesIO(content), force=True)
    except UnreadableSource:
        raise
    except Exception as error:
        raise UnreadableSource(f"not a {expected} that can be parsed ({type(error).__name__})") from None


def _refuse_deflate_bomb(content: bytes, *, limit: int) -> None:
    """Refuse a deflated file that inflates to more than a limit, without storing the inflated bytes.

    Args:
        content: a complete file; a file of any other transfer syntax passes.
        limit: largest inflated size in bytes.

    Raises:
        UnreadableSource: the file inflates to more than ``limit`` bytes.
    """
    stream = BytesIO(content)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if str(meta.get("TransferSyntaxUID", "")) != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (chunk := inflater.unconsumed_tail or stream.read(_CHUNK_BYTES)):
        size += len(inflater.decompress(chunk, _CHUNK_BYTES))
        if size > limit:
            raise UnreadableSource(f"deflated DICOM of more than {limit:,} bytes")
