"""Messages between the processes of the service: JSON and bytes, never pickle, as one side decodes hostile files."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

LARGEST = 512 << 20
"""Maximum size of a message in bytes."""

_LENGTH = struct.Struct(">I")
_SIZES = "sizes"


class ServedBundle(NamedTuple):
    """The bundle that the model worker loaded, as the front process knows it.

    Attributes:
        card: body of ``GET /v1/bundle``.
        suffixes: endings of file names, by modality, in the order of the bundle.
        unused: reason, by modality that is not an input modality.
    """

    card: dict[str, Any]
    suffixes: dict[str, list[str]]
    unused: dict[str, str]


def pack(head: Mapping[str, Any], blobs: Sequence[bytes | bytearray] = ()) -> bytes:
    """Return a message: the length of the JSON head (4 bytes, big-endian), the head, and the blobs one after another.

    Raises:
        ValueError: a number is not finite.
    """
    content = json.dumps({**head, _SIZES: [len(blob) for blob in blobs]}, allow_nan=False).encode()
    return b"".join((_LENGTH.pack(len(content)), content, *blobs))


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return the head and the blobs of a message of ``pack``.

    Raises:
        ValueError: ``pack`` did not write the message.
    """
    try:
        (length,) = _LENGTH.unpack_from(message)
        start = _LENGTH.size + length
        head = json.loads(message[_LENGTH.size : start])
        sizes = [int(size) for size in head.pop(_SIZES)]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("got a message that this service did not write") from None
    if min(sizes, default=0) < 0 or start + sum(sizes) != len(message):
        raise ValueError("got a message whose length differs from its header")
    blobs = []
    for size in sizes:
        blobs.append(message[start : start + size])
        start += size
    return head, blobs
