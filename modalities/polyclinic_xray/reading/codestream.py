"""What a compressed frame claims of itself, held against the tags around it before a decoder allocates anything.

Decoders believe the frame: one of a hundred bytes may claim 65,535 x 65,535 pixels, and GDCM ends the process when it
claims a number of samples that it does not know.
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
from polyclinic_xray.reading.jpeg_markers import check_markers

WAVELET = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
"""Transfer syntaxes of JPEG 2000, parts 1 and 15."""

_BY_CHARLS = (JPEGLSLossless, JPEGLSNearLossless)
_BY_GDCM = (JPEGLossless, JPEGLosslessSV1, JPEGExtended12Bit)
_RLE_RATIO = 64  # a run of 128 bytes takes two
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"
# SOF0 to SOF15 without DHT, JPG and DAC (ISO/IEC 10918-1 table B.1), and SOF55 of JPEG-LS (14495-1 C.1.1)
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


class Claim(NamedTuple):
    """Size, samples per pixel and bits per sample."""

    rows: int
    columns: int
    samples: int
    bits: int


def check_claim(dataset: Dataset, syntax: str) -> Claim | None:
    """Compare what an encapsulated frame claims with Rows, Columns and Samples per Pixel.

    Args:
        dataset: with encapsulated Pixel Data of one frame.
        syntax: its transfer syntax.

    Returns:
        What the frame claims; nothing where frames of this syntax say nothing.

    Raises:
        UnreadableSource: no frame, no header in it, another size, or fewer bytes than the size can take.
    """
    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise UnreadableSource(f"pixel data is not encapsulated as declared ({type(error).__name__})") from None
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel", 1))
    if syntax == RLELossless:
        expected = rows * columns * samples * int(dataset.BitsAllocated) // 8
        if len(frame) * _RLE_RATIO < expected:
            raise UnreadableSource(f"{len(frame)} bytes of RLE cannot hold {rows} x {columns} pixels")
        return None
    read: Callable[[bytes], Claim | None] = _of_wavelet if syntax in WAVELET else _of_jpeg
    claim = read(frame)
    if claim is None:
        raise UnreadableSource(f"pixel data without the start of a code stream (transfer syntax {syntax})")
    if claim[:3] != (rows, columns, samples):
        raise UnreadableSource(
            f"code stream of {claim.rows} x {claim.columns} x {claim.samples} samples, expected {rows} x {columns} x "
            f"{samples} as the tags say"
        )
    if syntax in _BY_CHARLS and not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
        # CharLS looks for the end of what has none for seconds, even of a small image.
        raise UnreadableSource("JPEG-LS frame with no end of image: the file was cut or altered")
    if syntax in _BY_GDCM:
        fits = int(dataset.BitsStored), int(dataset.BitsAllocated)
        check_markers(frame, bits=fits, lossless=syntax != JPEGExtended12Bit)
    return claim


def _of_jpeg(frame: bytes) -> Claim | None:
    """From the frame header, behind tables and application segments (ISO/IEC 10918-1 B.2.2)."""
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:
            place += 1  # a fill byte
        elif marker in _START_OF_FRAME:
            rows, columns = _big_endian(frame[place + 5 : place + 7]), _big_endian(frame[place + 7 : place + 9])
            return Claim(rows, columns, frame[place + 9], frame[place + 4])
        else:
            place += 2 + max(2, _big_endian(frame[place + 2 : place + 4]))
    return None


def _of_wavelet(frame: bytes) -> Claim | None:
    """From the SIZ segment, which comes first (ISO/IEC 15444-1 A.5.1); some writers put boxes around the stream."""
    start = frame.find(_START_OF_CODESTREAM)
    if start < 0 or len(frame) < start + 43:
        return None
    right, bottom, left, top = (_big_endian(frame[start + at : start + at + 4]) for at in (8, 12, 16, 20))
    samples, depth = _big_endian(frame[start + 40 : start + 42]), frame[start + 42]
    return Claim(bottom - top, right - left, samples, (depth & 0x7F) + 1)


def _big_endian(content: bytes) -> int:
    return int.from_bytes(content, "big")
