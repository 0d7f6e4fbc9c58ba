"""Compress leads as Philips Sierra XML stores them: limb leads as residuals, second differences, LZW of ten bits."""

import struct

import numpy as np

_BITS, _LAST_CODE = 10, 1022


def xli_encode(stored: np.ndarray) -> bytes:
    """Compress twelve leads [12, N] of 16-bit integers in the order of ``LEADS``."""
    first, second, third, right, left, foot = stored[:6]
    rest = [
        second - first - third,
        -right - (first + second) // 2,
        (first - third) // 2 - left,
        (second + third) // 2 - foot,
    ]
    return b"".join(_chunk(row) for row in (first, second, *rest, *stored[6:]))


def _chunk(values: np.ndarray) -> bytes:
    bends = 2 * values[1:-1] - values[:-2] - values[2:]
    codes = np.concatenate([values[:2], bends[1:] + 64, [64]]).astype(np.int16)
    words = codes.view(np.uint16)
    packed = np.concatenate([words >> 8, words & 0xFF]).astype(np.uint8).tobytes()
    body = _lzw(packed)
    return struct.pack("<ihh", len(body), 0, int(bends[0])) + body


def _lzw(data: bytes) -> bytes:
    table = {bytes([value]): value for value in range(256)}
    codes, word = [], b""
    for value in data:
        longer = word + bytes([value])
        if longer in table:
            word = longer
            continue
        codes.append(table[word])
        if len(table) <= _LAST_CODE:
            table[longer] = len(table)
        word = bytes([value])
    codes.append(table[word])
    bits = "".join(format(code, f"0{_BITS}b") for code in codes)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
