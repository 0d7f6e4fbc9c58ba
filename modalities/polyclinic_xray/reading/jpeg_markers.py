"""The marker segments of a JPEG frame, checked before GDCM sees them (ISO/IEC 10918-1 annex B).

GDCM reads JPEG Lossless and JPEG of 12 bits, which nothing else with a permissive licence here does; but segments that
contradict each other end its process, and what was cut or altered it fills up without a word.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt

from polyclinic.modality import UnreadableSource

_HUFFMAN, _START_OF_SCAN, _END = 0xC4, 0xDA, 0xD9
_FRAMES = {0xC0: "sequential", 0xC1: "sequential", 0xC3: "lossless"}
_RESTART_INTERVAL, _QUANTISATION = 0xDD, 0xDB
_PASSED_OVER = {*range(0xE0, 0xF0), 0xFE, _RESTART_INTERVAL, _QUANTISATION}
_SPARE_BITS = 24
"""A last byte that is filled up, and two that some writers add."""

_IMPOSSIBLE = 2**20
"""Bits of a code that is not in the table: more than any frame has to spare."""

_COLOURS = (b"\0", b"\1", b"\2")
_INSIDE_A_SCAN = {0x00, 0xFF, *range(0xD0, 0xD8)}


class _Frame(NamedTuple):
    kind: str
    bits: int
    components: tuple[int, ...]


def check_markers(frame: bytes, *, bits: tuple[int, int], lossless: bool) -> None:
    """Refuse a frame whose segments are not what one image of one scan has.

    Args:
        frame: from the start of image to its end.
        bits: fewest and most per sample that fit the tags.
        lossless: whether the coding is lossless (process 14), otherwise sequential (processes 1, 2 and 4).

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
            _require(marker in _PASSED_OVER, f"marker {marker:02X} where none belongs")
            _require(not content.startswith(b"Adobe") or content[11:12] in _COLOURS, "an unknown colour transform")
    raise UnreadableSource("JPEG frame without a scan: the file was cut or altered")


def check_code_length(frame: bytes, pixels: UInt[np.ndarray, "H W"]) -> None:
    """Refuse decoded pixels that do not take as many bits to code as a lossless frame has.

    libjpeg, which GDCM uses, goes on after a code that does not exist, and fills up what is missing at the end. A
    frame of another coding, with restarts or with a point transform is left alone.

    Args:
        frame: of one component, as ``check_markers`` passed it.
        pixels: what was decoded from it.

    Raises:
        UnreadableSource: too many or too few bits.
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
            _require(0 <= 8 * _entropy_bytes(frame[end:]) - needed < _SPARE_BITS, "codes that do not fit its pixels")
            return


def _code_lengths(content: bytes) -> dict[int, dict[int, int]]:
    """Per table, how many bits the code of each value has."""
    found, place = {}, 0
    while place < len(content):
        counts = content[place + 1 : place + 17]
        lengths = np.repeat(np.arange(1, 17), list(counts)).tolist()
        found[content[place]] = dict(zip(content[place + 17 :], lengths, strict=False))
        place += 17 + sum(counts)
    return found


def _bits_needed(pixels: np.ndarray, lengths: Mapping[int, int], *, predictor: int, bits: int) -> int:
    """Of all differences from what is predicted (H.1.2): the code of their category, and their bits."""
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
    # Differences are taken modulo 2^16; 2^15 has a category of its own, without further bits.
    difference = (values - expected + 2**15 - 1) % 2**16 - (2**15 - 1)
    categories = np.bincount(np.frexp(np.abs(difference).reshape(-1))[1], minlength=17)
    return sum(
        int(count) * (lengths.get(category, _IMPOSSIBLE) + category % 16)
        for category, count in enumerate(categories)
        if count
    )


def _entropy_bytes(rest: bytes) -> int:
    """Bytes of code up to the end of the image, without those stuffed behind 0xFF."""
    end = rest.index(bytes((0xFF, _END)))
    return end - rest.count(b"\xff\x00", 0, end)


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content, and where the next one begins."""
    _require(frame[:2] == b"\xff\xd8", "no start of image")
    place = 2
    while place + 4 <= len(frame):
        _require(frame[place] == 0xFF, "bytes between segments")
        if frame[place + 1] == 0xFF:
            place += 1
            continue
        size = int.from_bytes(frame[place + 2 : place + 4], "big")
        end = place + 2 + size
        _require(size >= 2 and end <= len(frame), "a segment longer than the frame")
        yield frame[place + 1], frame[place + 4 : end], end
        place = end


def _huffman(content: bytes) -> set[int]:
    """The tables that a segment defines, class and number in one (B.2.4.2); none may have more codes than there are."""
    found, place = set(), 0
    while place < len(content):
        counts = content[place + 1 : place + 17]
        _require(len(counts) == 16 and content[place] in {*range(4), *range(16, 20)}, "a Huffman table cut short")
        room = sum(count << (16 - length) for length, count in enumerate(counts, start=1))
        _require(0 < sum(counts) <= 256 and room <= 2**16, "a Huffman table with too many codes")
        values = content[place + 17 : place + 17 + sum(counts)]
        largest = 16 if content[place] < 16 else 255
        _require(len(values) == sum(counts) and max(values) <= largest, "a Huffman table with impossible values")
        found.add(content[place])
        place += 17 + sum(counts)
    return found


def _frame_header(kind: str, content: bytes) -> _Frame:
    """Precision and components (B.2.2)."""
    _require(len(content) >= 9 and len(content) == 6 + 3 * content[5] and content[5] in (1, 3), "a frame header cut")
    components = content[6:]
    _require(all(factor == 0x11 for factor in components[1::3]) or kind == "sequential", "subsampled lossless samples")
    _require(len(set(components[::3])) == content[5], "a component twice")
    _require(kind == "lossless" or content[0] in (8, 12), "neither 8 nor 12 bits per sample")
    return _Frame(kind, content[0], tuple(components[::3]))


def _scan_header(content: bytes, header: _Frame, tables: set[int]) -> None:
    """All components in one scan, with tables that exist (B.2.3), and the parameters of the coding (table B.3)."""
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
    """Codes up to the end of the image, with no other marker among them."""
    values = np.frombuffer(rest, dtype=np.uint8)
    after = values[1:][values[:-1] == 0xFF]
    markers = after[~np.isin(after, list(_INSIDE_A_SCAN))]
    _require(markers[:1].tolist() == [_END], "no end of image")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UnreadableSource(f"JPEG frame with {otherwise}: the file was cut or altered")
