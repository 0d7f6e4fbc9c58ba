"""Check the marker segments of a JPEG frame before GDCM decodes it (ISO/IEC 10918-1 annex B).

GDCM is the only decoder of JPEG Lossless and 12-bit JPEG here with a permissive licence. Contradictory segments make
it end the process, and it fills in data that was cut or altered without a warning.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt

from polyclinic.modality import UnreadableSource

_HUFFMAN, _START_OF_SCAN, _END = 0xC4, 0xDA, 0xD9
_FRAMES = {0xC0: "sequential", 0xC1: "sequential", 0xC3: "lossless"}
_RESTART_INTERVAL, _QUANTISATION = 0xDD, 0xDB
_SKIPPED = {*range(0xE0, 0xF0), 0xFE, _RESTART_INTERVAL, _QUANTISATION}
_MAX_SPARE_BITS = 24
"""Padding of the last byte, and two bytes that some writers append."""

_MISSING_CODE_BITS = 2**20
"""Length assumed for a code that is not in the table: more than any frame can spare."""

_COLOUR_TRANSFORMS = (b"\0", b"\1", b"\2")
_SCAN_MARKERS = {0x00, 0xFF, *range(0xD0, 0xD8)}


class _Frame(NamedTuple):
    kind: str
    bits: int
    components: tuple[int, ...]


def check_markers(frame: bytes, *, bits: tuple[int, int], lossless: bool) -> None:
    """Refuse a frame whose segments are not those of a single image with one scan.

    Args:
        frame: complete frame.
        bits: smallest and largest number of bits per sample that fit the tags.
        lossless: True for lossless coding (process 14), False for sequential coding (processes 1, 2 and 4).

    Raises:
        UnreadableSource: a segment is missing, out of place, too long, or contradicts another.
    """
    header: _Frame | None = None
    tables: set[int] = set()
    for marker, content, end in _segments(frame):
        if marker == _HUFFMAN:
            tables |= _huffman(content)
        elif marker in _FRAMES and header is None:
            header = _frame_header(_FRAMES[marker], content)
        elif marker == _START_OF_SCAN and header is not None:
            _require(header.kind == ("lossless" if lossless else "sequential"), "another coding than the syntax says")
            _require(bits[0] <= header.bits <= bits[1], f"{header.bits} bits per sample")
            _scan_header(content, header, tables)
            _entropy_coded(frame[end:])
            return
        else:
            _require(marker in _SKIPPED, f"marker {marker:02X} where none belongs")
            _require(
                not content.startswith(b"Adobe") or content[11:12] in _COLOUR_TRANSFORMS, "an unknown colour transform"
            )
    raise UnreadableSource("JPEG frame without a scan: the file was cut or altered")


def check_code_length(frame: bytes, pixels: UInt[np.ndarray, "H W"]) -> None:
    """Refuse decoded pixels whose code would not be as long as that of the lossless frame.

    libjpeg, which GDCM uses, continues after an invalid code and fills in data that is missing at the end. Frames of
    another coding, with restarts or with a point transform are not checked.

    Args:
        frame: frame of one component that passed ``check_markers``.
        pixels: pixels decoded from the frame.

    Raises:
        UnreadableSource: the code has too many or too few bits.
    """
    header: _Frame | None = None
    lengths: dict[int, dict[int, int]] = {}
    for marker, content, end in _segments(frame):
        if marker == _RESTART_INTERVAL and any(content):
            return
        if marker == _HUFFMAN:
            lengths |= _code_lengths(content)
        elif marker in _FRAMES:
            header = _frame_header(_FRAMES[marker], content)
        elif marker == _START_OF_SCAN:
            if header is None or header.kind != "lossless" or content[-1] & 15:
                return
            needed = _bits_needed(pixels, lengths[content[2] >> 4], predictor=content[-3], bits=header.bits)
            _require(
                0 <= 8 * _entropy_bytes(frame[end:]) - needed < _MAX_SPARE_BITS, "codes that do not fit its pixels"
            )
            return


def _code_lengths(content: bytes) -> dict[int, dict[int, int]]:
    """Return the number of bits of the code of each value, by table."""
    tables, start = {}, 0
    while start < len(content):
        counts = content[start + 1 : start + 17]
        lengths = np.repeat(np.arange(1, 17), list(counts)).tolist()
        tables[content[start]] = dict(zip(content[start + 17 :], lengths, strict=False))
        start += 17 + sum(counts)
    return tables


def _bits_needed(pixels: np.ndarray, lengths: Mapping[int, int], *, predictor: int, bits: int) -> int:
    """Return the length in bits of the code of all prediction errors (H.1.2).

    Each error is coded as the Huffman code of its category (its number of bits), then those bits.
    """
    values = pixels.astype(np.int32)
    expected = np.empty_like(values)
    expected[0, 0], expected[0, 1:], expected[1:, 0] = 2 ** (bits - 1), values[0, :-1], values[:-1, 0]
    left, above, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    expected[1:, 1:] = {
        1: lambda: left,
        2: lambda: above,
        3: lambda: corner,
        4: lambda: left + above - corner,
        5: lambda: left + ((above - corner) >> 1),
        6: lambda: above + ((left - corner) >> 1),
        7: lambda: (left + above) >> 1,
    }[predictor]()
    # Errors are taken modulo 2^16. Category 16 holds only 2^15, which has no further bits: hence ``category % 16``.
    difference = (values - expected + 2**15 - 1) % 2**16 - (2**15 - 1)
    categories = np.bincount(np.frexp(np.abs(difference).reshape(-1))[1], minlength=17)
    return sum(
        int(count) * (lengths.get(category, _MISSING_CODE_BITS) + category % 16)
        for category, count in enumerate(categories)
        if count
    )


def _entropy_bytes(rest: bytes) -> int:
    """Count the bytes of code before the end of image, without those stuffed after 0xFF."""
    end = rest.index(bytes((0xFF, _END)))
    return end - rest.count(b"\xff\x00", 0, end)


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield the marker, the content and the end of each segment."""
    _require(frame[:2] == b"\xff\xd8", "no start of image")
    start = 2
    while start + 4 <= len(frame):
        _require(frame[start] == 0xFF, "bytes between segments")
        if frame[start + 1] == 0xFF:
            start += 1
            continue
        size = int.from_bytes(frame[start + 2 : start + 4], "big")
        end = start + 2 + size
        _require(size >= 2 and end <= len(frame), "a segment longer than the frame")
        yield frame[start + 1], frame[start + 4 : end], end
        start = end


def _huffman(content: bytes) -> set[int]:
    """Check the tables of a segment and return their class and number in one byte each (B.2.4.2)."""
    tables, start = set(), 0
    while start < len(content):
        counts = content[start + 1 : start + 17]
        _require(len(counts) == 16 and content[start] in {*range(4), *range(16, 20)}, "a Huffman table cut short")
        # A code of n bits takes 2^(16 - n) of the 2^16 codes of 16 bits (Kraft's inequality).
        used_codes = sum(count << (16 - length) for length, count in enumerate(counts, start=1))
        _require(0 < sum(counts) <= 256 and used_codes <= 2**16, "a Huffman table with too many codes")
        values = content[start + 17 : start + 17 + sum(counts)]
        largest = 16 if content[start] < 16 else 255
        _require(len(values) == sum(counts) and max(values) <= largest, "a Huffman table with impossible values")
        tables.add(content[start])
        start += 17 + sum(counts)
    return tables


def _frame_header(kind: str, content: bytes) -> _Frame:
    """Read the precision and the components (B.2.2)."""
    _require(len(content) >= 9 and len(content) == 6 + 3 * content[5] and content[5] in (1, 3), "a frame header cut")
    components = content[6:]
    _require(all(factor == 0x11 for factor in components[1::3]) or kind == "sequential", "subsampled lossless samples")
    _require(len(set(components[::3])) == content[5], "a component twice")
    _require(kind == "lossless" or content[0] in (8, 12), "neither 8 nor 12 bits per sample")
    return _Frame(kind, content[0], tuple(components[::3]))


def _scan_header(content: bytes, header: _Frame, tables: set[int]) -> None:
    """Require one scan of all components (B.2.3), defined tables, and the parameters of the coding (table B.3)."""
    count = len(header.components)
    _require(len(content) == 4 + 2 * count and content[0] == count, "several scans or a scan header cut")
    _require(tuple(content[1 : 1 + 2 * count : 2]) == header.components, "a scan of other components")
    first, last, shift = content[-3:]
    lossless = header.kind == "lossless"
    for chosen in content[2 : 2 + 2 * count : 2]:
        needed = {chosen >> 4} if lossless else {chosen >> 4, 16 + (chosen & 15)}
        _require(needed <= tables, "a Huffman table that is not defined")
    if lossless:
        _require(1 <= first <= 7 and shift < header.bits, "a predictor that does not exist")
    else:
        _require((first, last, shift) == (0, 63, 0), "part of the coefficients")


def _entropy_coded(rest: bytes) -> None:
    """Require that the next marker after the codes is the end of image."""
    values = np.frombuffer(rest, dtype=np.uint8)
    after = values[1:][values[:-1] == 0xFF]
    markers = after[~np.isin(after, list(_SCAN_MARKERS))]
    _require(markers[:1].tolist() == [_END], "no end of image")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise UnreadableSource(f"JPEG frame with {problem}: the file was cut or altered")
