"""Messages between the processes of the service: JSON and bytes, never pickle, as one side decodes hostile files."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST = 512 << 20
"""Bytes of a message, at most."""

_LENGTH = struct.Struct(">I")
_SIZES = "sizes"


def pack(head: Mapping[str, Any], blobs: Sequence[bytes | bytearray] = ()) -> bytes:
    """One message of plain values and of bytes.

    Raises:
        ValueError: a number that is not finite.
    """
    told = json.dumps({**head, _SIZES: [len(blob) for blob in blobs]}, allow_nan=False).encode()
    return b"".join((_LENGTH.pack(len(told)), told, *blobs))


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What ``pack`` was given.

    Raises:
        ValueError: no such message.
    """
    try:
        (length,) = _LENGTH.unpack_from(message)
        start = _LENGTH.size + length
        head = json.loads(message[_LENGTH.size : start])
        sizes = [int(size) for size in head.pop(_SIZES)]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("got a message that is not of this service") from None
    if min(sizes, default=0) < 0 or start + sum(sizes) != len(message):
        raise ValueError("got a message that is longer or shorter than it says")
    blobs = []
    for size in sizes:
        blobs.append(message[start : start + size])
        start += size
    return head, blobs
