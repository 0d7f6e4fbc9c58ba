"""Bounds of cart exports, checked before ecgdatakit decodes them: it allocates what a file declares."""

import base64
import binascii
import re
import struct
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.recording import MAX_VALUES

_MAX_XML_BYTES = 32_000_000
_MAX_XML_TAGS = 200_000
_MAX_XML_ATTRIBUTES = 1_000_000
_MAX_CHANNELS = 64
_MAX_SAMPLES = 1_000_000
"""Largest number of compressed samples, which the library decodes one by one in a loop: 80 s of 12 leads at 1 kHz."""

_MAX_EDF_RECORDS = 1_000_000
_MAX_SCP_BYTES = 2_000_000
_MAX_SCP_BEATS = 1000
_MAX_MFER_DEFINITIONS, _MAX_MFER_GROUPS = 10_000, 200
_MFER_FILLER, _MFER_BYTE_ORDER, _MFER_CHANNELS, _MFER_ATTRIBUTES, _MFER_SET, _MFER_END = 0, 1, 5, 0x3F, 0x67, 0x80
_XLI_HEADER_BYTES, _XLI_CODE_BITS = 8, 10


class Limit(NamedTuple):
    """Largest size of a file, and a check of what its content declares, given the title of the format."""

    max_bytes: int
    check: Callable[[bytes, str], None]


def refuse_oversized(path: Path, limit: Limit, title: str) -> None:
    """Refuse a file that is too large, or that declares more than a resting electrocardiogram has.

    Raises:
        UnreadableSource: a bound is exceeded, or the declarations cannot be read.
    """
    if path.stat().st_size > limit.max_bytes:
        raise UnreadableSource(f"{title} file larger than {limit.max_bytes:,} bytes")
    limit.check(path.read_bytes(), title)


def _xml(content: bytes, title: str) -> None:
    """Refuse entities, which expand (CWE-776) or name other files (CWE-611), and more elements than fit in memory.

    The parsers of the library refuse entities as well, in any encoding; this is the sentence for the common ones.
    """
    plain = content.replace(b"\0", b"")
    if b"<!ENTITY" in plain or re.search(rb"<!DOCTYPE[^>\[]*\[", plain):
        raise UnreadableSource(f"{title} that declares entities; expected XML without entities")
    if content.count(b"<") > _MAX_XML_TAGS or content.count(b"=") > _MAX_XML_ATTRIBUTES:
        raise UnreadableSource(f"{title} of more than {_MAX_XML_TAGS:,} tags or {_MAX_XML_ATTRIBUTES:,} attributes")


def _sierra(content: bytes, title: str) -> None:
    """Refuse a number of channels whose names alone fill the memory, and compressed leads that inflate too far.

    The library takes rate and resolution from another place of the file where that of the waveform is not a positive
    number; here, such a waveform is refused.
    """
    _xml(content, title)
    root = import_module("ecgdatakit.parsing.helpers.xml").parse_xml_root(content)
    for element in root.iter():
        if element.tag in ("numberchannelsallocated", "numberchannelsvalid"):
            if not 0 <= _number(element.text) <= _MAX_CHANNELS:
                raise UnreadableSource(f"{title} with another number of channels than 1 to {_MAX_CHANNELS}")
        elif element.tag == "parsedwaveforms":
            if not all(_number(element.get(name, "1")) > 0 for name in ("samplespersecond", "resolution")):
                raise UnreadableSource(f"{title} whose rate or resolution is not a positive number")
            if "xli" in (element.get(name, "").lower() for name in ("compression", "compressmethod")):
                _refuse_inflating(element.text or "", title)


def _number(text: str | None) -> float:
    """Return a number, 0 for an empty text and -1 for any other text."""
    try:
        return float(text or 0)
    except ValueError:
        return -1.0


def _refuse_inflating(text: str, title: str) -> None:
    """Refuse XLI chunks that LZW inflates to more than a recording: ten bits can stand for 700 bytes."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableSource(f"{title} with samples that are not Base64") from None
    inflated = start = 0
    while start + _XLI_HEADER_BYTES <= len(data):
        size = max(0, struct.unpack_from("<i", data, start)[0])
        start += _XLI_HEADER_BYTES
        for length in _lzw_lengths(data[start : start + size]):
            inflated += length
            if inflated > 2 * _MAX_SAMPLES:
                raise UnreadableSource(f"{title} of more than {_MAX_SAMPLES:,} compressed samples")
        start += size


def _lzw_lengths(chunk: bytes) -> Iterator[int]:
    """Yield the lengths of the strings that the codes of a chunk stand for (LZW, Welch 1984)."""
    lengths, previous, free, last = dict.fromkeys(range(256), 1), 0, 256, (1 << _XLI_CODE_BITS) - 2
    for code in _codes(chunk):
        if code > last:
            return
        length = lengths.setdefault(code, previous + 1)
        if previous and free <= last:
            lengths[free], free = previous + 1, free + 1
        yield length
        previous = length


def _codes(chunk: bytes) -> Iterator[int]:
    bits = value = 0
    for byte in chunk:
        value, bits = (value << 8 | byte) & 0xFFFFF, bits + 8
        if bits >= _XLI_CODE_BITS:
            bits -= _XLI_CODE_BITS
            yield value >> bits & ((1 << _XLI_CODE_BITS) - 1)


def _edf(content: bytes, title: str) -> None:
    """Refuse more records than a loop over them can take, and a count of records that was never written."""
    records = int(content[236:244])
    if not 0 < records <= _MAX_EDF_RECORDS:
        raise UnreadableSource(f"{title} of {records} data records; expected 1 to {_MAX_EDF_RECORDS:,}")


def _ishne(content: bytes, title: str) -> None:
    """Refuse a file with another number of samples than its header declares, because the library reads what is there.

    The length is the number of samples of one lead (Badilini 1998); some writers store that of all leads.
    """
    if len(content) < 158:
        raise UnreadableSource(f"{title} that is cut off in its header")
    comment, declared = struct.unpack_from("<ii", content, 10)
    leads = struct.unpack_from("<h", content, 156)[0]
    stored = (len(content) - 522 - comment) // 2
    if leads < 1 or stored not in (declared, declared * leads):
        raise UnreadableSource(f"{title} of {stored} samples in all; its header declares {declared} of {leads} leads")


def _scp(content: bytes, title: str) -> None:
    """Refuse more samples, leads or beats than decoding takes in a few seconds (EN 1064, sections 3 and 4)."""
    sections = dict(_scp_sections(content))
    leads, beats = sections.get(3, b""), sections.get(4, b"")
    count = leads[0] if leads else 0
    bounds = [struct.unpack_from("<II", leads, 2 + 9 * index) for index in range(min(count, len(leads) // 9))]
    samples = sum(max(0, last - first + 1) for first, last in bounds)
    if count > _MAX_CHANNELS or samples > _MAX_SAMPLES:
        raise UnreadableSource(
            f"{title} of {samples} samples in {count} leads; expected at most {_MAX_SAMPLES:,} in {_MAX_CHANNELS}"
        )
    if len(beats) >= 6 and (number := int.from_bytes(beats[4:6], "little")) > _MAX_SCP_BEATS:
        raise UnreadableSource(f"{title} of {number} beats; expected at most {_MAX_SCP_BEATS:,}")


def _scp_sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and body of each section that the pointers of section 0 place within the file."""
    end = 6 + int.from_bytes(content[10:14], "little")
    for place in range(22, min(end, len(content)) - 9, 10):
        number, length, index = struct.unpack_from("<HII", content, place)
        yield number, content[index + 15 : max(0, index - 1) + length]


def _mfer(content: bytes, title: str) -> None:
    """Refuse channels and definitions in numbers over which loops take long (ISO 22077-1)."""
    is_big_endian, open_groups = True, 0
    for count, (tag, value) in enumerate(_definitions(content)):
        open_groups += value is None
        if tag == _MFER_BYTE_ORDER and value is not None:
            is_big_endian = value[:1] in (b"", b"\0")
        channels = int.from_bytes(value or b"", "big" if is_big_endian else "little") if tag == _MFER_CHANNELS else 0
        if channels > _MAX_CHANNELS:
            raise UnreadableSource(f"{title} of more than {_MAX_CHANNELS} channels")
        if count >= _MAX_MFER_DEFINITIONS or open_groups > _MAX_MFER_GROUPS:
            raise UnreadableSource(f"{title} of more than {_MAX_MFER_DEFINITIONS:,} definitions")


def _definitions(content: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield tag and value of each definition, those within a group after it; the value of an open group is None."""
    place = end_of_group = 0
    while place < len(content) - 1:
        tag, place = content[place], place + 1
        if tag == _MFER_FILLER:
            continue
        if tag == _MFER_END:
            if place > end_of_group:
                return
            continue
        while tag == _MFER_ATTRIBUTES and place < len(content) - 1 and content[place] & 0x80:
            place += 1
        place += tag == _MFER_ATTRIBUTES
        first = content[place] if place < len(content) else 0
        digits = first & 0x7F if first > 0x80 else 0
        size = int.from_bytes(content[place + 1 : place + 1 + digits], "big") if digits else first
        place += 1 + digits
        if first == 0x80:
            # It has no stated end, so that an end within it may be that of a group.
            end_of_group = len(content)
            yield tag, None
            continue
        yield tag, content[place : place + size]
        if tag in (_MFER_ATTRIBUTES, _MFER_SET):
            end_of_group = max(end_of_group, place + size)
        else:
            place += size


_MAX_SAMPLE_BYTES = 2 * MAX_VALUES
LIMITS = {
    "xml": Limit(_MAX_XML_BYTES, _xml),
    "sierra": Limit(_MAX_XML_BYTES, _sierra),
    "edf": Limit(_MAX_SAMPLE_BYTES, _edf),
    "ishne": Limit(_MAX_SAMPLE_BYTES, _ishne),
    "scp": Limit(_MAX_SCP_BYTES, _scp),
    "mfer": Limit(MAX_VALUES, _mfer),  # a sample can be a byte
}
"""Limits by kind of format."""
