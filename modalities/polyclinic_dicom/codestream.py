"""Compare the header of a compressed frame with the DICOM tags before a decoder allocates memory.

Decoders trust the frame: a hundred bytes may claim 65,535 x 65,535 pixels, and GDCM ends the process when a frame
claims an unknown number of samples.
"""

from collections.abc import Callable
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.jpeg_markers import check_markers

WAVELET = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
"""Transfer syntaxes of JPEG 2000 (parts 1 and 15)."""

_CHARLS_SYNTAXES = (JPEGLSLossless, JPEGLSNearLossless)
_GDCM_SYNTAXES = (JPEGLossless, JPEGLosslessSV1, JPEGExtended12Bit)
_MAX_RLE_RATIO = 64  # a run of 128 bytes takes two
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"
# SOF0 to SOF15 without DHT, JPG and DAC (ISO/IEC 10918-1 table B.1), and SOF55 of JPEG-LS (14495-1 C.1.1)
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


class Claim(NamedTuple):
    """Size, samples per pixel and bits per sample that a frame declares."""

    rows: int
    columns: int
    samples: int
    bits: int


def check_claim(dataset: Dataset, syntax: str) -> Claim | None:
    """Compare the claim of an encapsulated frame with Rows, Columns and Samples per Pixel.

    Args:
        dataset: dataset with encapsulated Pixel Data of one frame.
        syntax: transfer syntax UID.

    Returns:
        The claim of the frame; None for RLE, whose frames have no header.

    Raises:
        UnreadableSource: the frame or its header is missing, states another size, or is too short for its size.
    """
    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise UnreadableSource(f"pixel data is not encapsulated as declared ({type(error).__name__})") from None
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel", 1))
    if syntax == RLELossless:
        expected = rows * columns * samples * int(dataset.BitsAllocated) // 8
        if len(frame) * _MAX_RLE_RATIO < expected:
            raise UnreadableSource(f"{len(frame)} bytes of RLE cannot hold {rows} x {columns} pixels")
        return None
    parse: Callable[[bytes], Claim | None] = _jpeg2000_claim if syntax in WAVELET else _jpeg_claim
    claim = parse(frame)
    if claim is None:
        raise UnreadableSource(f"pixel data without the start of a code stream (transfer syntax {syntax})")
    if claim[:3] != (rows, columns, samples):
        raise UnreadableSource(
            f"code stream of {claim.rows} x {claim.columns} x {claim.samples} samples, expected {rows} x {columns} x "
            f"{samples} as the tags say"
        )
    if syntax in _CHARLS_SYNTAXES and not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
        # CharLS searches for a missing end for seconds, even in a small image.
        raise UnreadableSource("JPEG-LS frame with no end of image: the file was cut or altered")
    if syntax in _GDCM_SYNTAXES:
        bits = int(dataset.BitsStored), int(dataset.BitsAllocated)
        check_markers(frame, bits=bits, lossless=syntax != JPEGExtended12Bit)
    return claim


def _jpeg_claim(frame: bytes) -> Claim | None:
    """Read the frame header, which follows tables and application segments (ISO/IEC 10918-1 B.2.2)."""
    start = 2
    while start + 10 <= len(frame) and frame[start] == 0xFF:
        marker = frame[start + 1]
        if marker == 0xFF:
            start += 1  # a fill byte
        elif marker in _START_OF_FRAME:
            rows, columns = _big_endian(frame[start + 5 : start + 7]), _big_endian(frame[start + 7 : start + 9])
            return Claim(rows, columns, frame[start + 9], frame[start + 4])
        else:
            start += 2 + max(2, _big_endian(frame[start + 2 : start + 4]))
    return None


def _jpeg2000_claim(frame: bytes) -> Claim | None:
    """Read the SIZ segment, the first of the code stream (ISO/IEC 15444-1 A.5.1); some writers put boxes around it."""
    start = frame.find(_START_OF_CODESTREAM)
    if start < 0 or len(frame) < start + 43:
        return None
    right, bottom, left, top = (_big_endian(frame[start + at : start + at + 4]) for at in (8, 12, 16, 20))
    samples, depth = _big_endian(frame[start + 40 : start + 42]), frame[start + 42]
    return Claim(bottom - top, right - left, samples, (depth & 0x7F) + 1)


def _big_endian(content: bytes) -> int:
    return int.from_bytes(content, "big")
