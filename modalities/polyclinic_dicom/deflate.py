"""A size limit for deflated DICOM files, which pydicom inflates without one (PS3.5 A.5)."""

import zlib
from io import BytesIO

from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from polyclinic.modality import UnreadableSource

_CHUNK_BYTES = 2**20


def refuse_deflate_bomb(content: bytes, *, limit: int) -> None:
    """Refuse a deflated file that inflates to more than a limit, without holding what is inflated.

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
