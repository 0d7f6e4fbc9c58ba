"""A deflated DICOM file, held to a size before pydicom inflates it without one (PS3.5 A.5)."""

import zlib
from io import BytesIO

from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from polyclinic.modality import UnreadableSource
from polyclinic_xray.radiograph import MAX_PIXELS

MAX_INFLATED = 4 * MAX_PIXELS
"""Bytes: the largest image of 16 bits, and as much again for everything else."""

_STEP = 2**20


def refuse_bomb(content: bytes) -> None:
    """Inflate piece by piece, keeping nothing, and stop at ``MAX_INFLATED``.

    Args:
        content: a whole file; one of another transfer syntax is left alone.

    Raises:
        UnreadableSource: more than ``MAX_INFLATED`` bytes come out of it.
    """
    stream = BytesIO(content)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if str(meta.get("TransferSyntaxUID", "")) != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (piece := inflater.unconsumed_tail or stream.read(_STEP)):
        size += len(inflater.decompress(piece, _STEP))
        if size > MAX_INFLATED:
            raise UnreadableSource(f"deflated DICOM of more than {MAX_INFLATED:,} bytes")
