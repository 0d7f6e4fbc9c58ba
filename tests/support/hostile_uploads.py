"""Malicious uploads: each is a raw multipart body that must be refused with a message."""

import io
import random
import struct
import wave
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BOUNDARY = b"planted-boundary"
_NAMES = (
    b"../../etc/passwd",
    b"..",
    b".",
    b"/",
    b"a\x00b.dcm",
    b"\xff\xfe.dcm",
    b"x" * 4000 + b".dcm",
    b"\n.dcm",
    b"DOE^JOHN\x07.hea",
)


@dataclass(frozen=True)
class Hostile:
    """One upload."""

    kind: str
    body: bytes
    content_type: str = f"multipart/form-data; boundary={BOUNDARY.decode()}"


def part(name: bytes, filename: bytes | None, content: bytes, more: bytes = b"") -> bytes:
    """Encode one part, including its end."""
    disposition = b"" if filename is None else b'; filename="' + filename + b'"'
    head = b'Content-Disposition: form-data; name="' + name + b'"' + disposition + b"\r\n" + more
    return b"--" + BOUNDARY + b"\r\n" + head + b"\r\n" + content + b"\r\n"


def whole(*parts: bytes) -> bytes:
    """Join parts into a body."""
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def hostile_uploads(files: Mapping[str, Path], count: int, seed: int) -> Iterator[Hostile]:
    """Yield at least ``count`` distinct uploads: the handwritten ones, then damaged copies of good files.

    Args:
        files: of one study by modality, from which damaged ones are made.
        count: least number of uploads.
        seed: of the damage.
    """
    handwritten = [*_headers(), *_multipart(), *_pictures(), *_sounds(), *_texts(), *_dicom(files["xray"])]
    yield from handwritten
    rng = random.Random(seed)
    kinds = sorted(set(files) & {"xray", "ecg"})
    for place in range(max(0, count - len(handwritten))):
        name = kinds[place % len(kinds)]
        yield _damaged(name, files[name], rng)


def _damaged(name: str, path: Path, rng: random.Random) -> Hostile:
    """Truncate a file or replace its rest by noise, so that it cannot be read."""
    suffix = path.suffix.encode()
    content = path.read_bytes()
    if name == "ecg":
        signal = path.with_suffix(".dat").read_bytes()
        cut = rng.randrange(len(signal) // 2)
        how = rng.randrange(3)
        signal = [signal[:cut], signal[:cut] + rng.randbytes(len(signal) - cut), b""][how]
        dat = path.with_suffix(".dat").name.encode()
        return Hostile(
            f"ecg {how} at {cut}", whole(part(b"ecg", path.name.encode(), content), part(b"ecg", dat, signal))
        )
    how = rng.randrange(2)
    cut = rng.randrange(len(content) // 2)
    content = content[:cut] if how == 0 else rng.randbytes(rng.randrange(1, 5000))
    return Hostile(f"{name} {how} at {cut}", whole(part(name.encode(), b"a" + suffix, content)))


def _headers() -> Iterator[Hostile]:
    """Yield WFDB headers that point elsewhere or declare absurd sizes."""
    lines = [
        "{0} 12 100 1000\n" + "/etc/passwd 16 1000(0)/mV 16 0 0 0 0 I\n" * 12,
        "{0} 12 100 1000\n" + "../../../../etc/passwd 16 1000(0)/mV 16 0 0 0 0 I\n" * 12,
        "{0} 1 100 1000\n/dev/zero 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 100 1000\n~/x.dat 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 100 1000\n/proc/self/environ 8 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 100 99999999999999\na.dat 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 1e308 1000\na.dat 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 0 1000\na.dat 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 -5 1000\na.dat 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 99999 100 1000\na.dat 16 1000(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 100 1000\na.dat 16x99999999 1000(0)/mV 16 0 0 0 0 I\n",
        "{0}/999999 12 100 1000\n" + "a 1\n" * 100,
        "{0}/2 12 100 1000\n{0} 500\n{0} 500\n",
        "{0} 1 100 1000\na.dat 16 nan(0)/mV 16 0 0 0 0 I\n",
        "{0} 1 100 1000\na.dat 16 0(0)/mV 16 0 0 0 0 I\n",
        "", "\n", "#\n", "\x00" * 100, "{0}", "x " * 50_000,
    ]  # fmt: skip
    for place, text in enumerate(lines):
        header = part(b"ecg", b"a.hea", text.format("a").encode())
        signal = part(b"ecg", b"a.dat", b"\x01\x00" * 1000)
        yield Hostile(f"header {place}", whole(header, signal))
        yield Hostile(f"header {place} alone", whole(header))


def _multipart() -> Iterator[Hostile]:
    good = part(b"xray", b"a.png", b"x")
    yield Hostile("empty body", b"")
    yield Hostile("no part", whole())
    yield Hostile("no end", good)
    yield Hostile("half a boundary", good + b"--plant")
    yield Hostile("no boundary", whole(good), "multipart/form-data")
    yield Hostile("long boundary", whole(good), "multipart/form-data; boundary=" + "b" * 5000)
    yield Hostile("another boundary", whole(good), "multipart/form-data; boundary=another")
    yield Hostile("json", b"{}", "application/json")
    yield Hostile("form", b"xray=1", "application/x-www-form-urlencoded")
    yield Hostile("mixed", whole(good), f"multipart/mixed; boundary={BOUNDARY.decode()}")
    yield Hostile("no type", whole(good), "")
    yield Hostile("noise", random.Random(0).randbytes(5000))
    yield Hostile("no disposition", b"--" + BOUNDARY + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n" + whole())
    yield Hostile(
        "no name", b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n' + whole()
    )
    yield Hostile("encoded", whole(part(b"xray", b"a.png", b"eA==", b"Content-Transfer-Encoding: base64\r\n")))
    yield Hostile("long header", whole(part(b"xray", b"a.png", b"x", b"X: " + b"y" * 100_000 + b"\r\n")))
    yield Hostile("many headers", whole(part(b"xray", b"a.png", b"x", b"X: y\r\n" * 5000)))
    yield Hostile("many parts", whole(*(part(b"xray", b"%d.png" % place, b"x") for place in range(500))))
    yield Hostile("one name twice", whole(good, good))
    yield Hostile("two studies", whole(part(b"xray", b"a.png", b"x"), part(b"xray", b"b.png", b"x")))
    yield Hostile("unknown part", whole(part(b"DOE^JOHN", b"a.png", b"x")))
    yield Hostile("unknown ending", whole(part(b"files", b"a.exe", b"MZ")))
    yield Hostile("nothing in a file", whole(part(b"xray", b"a.dcm", b"")))
    for place, name in enumerate(_NAMES):
        yield Hostile(f"name {place}", whole(part(b"xray", name, b"x")))
        yield Hostile(f"sorted name {place}", whole(part(b"files", name, b"x")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _pictures() -> Iterator[Hostile]:
    for width, height in ((100_000, 100_000), (2**31 - 1, 2**31 - 1), (0, 0), (1, 2**30)):
        header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9))
        yield Hostile(f"png {width} x {height}", whole(part(b"xray", b"a.png", bomb + _chunk(b"IEND", b""))))
    yield Hostile("jpeg of nothing", whole(part(b"xray", b"a.jpg", b"\xff\xd8\xff\xe0" + b"\x00" * 50)))
    huge = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65535, 65535, 1) + b"\x01\x11\x00\xff\xda\x00\x08"
    yield Hostile("jpeg of 4 gigapixels", whole(part(b"xray", b"a.jpg", huge + bytes(1000))))
    for kind in (b"GIF89a", b"%PDF-1.7", b"PK\x03\x04", b"\x7fELF", b"\x1f\x8b", b"<svg/>", b"#!/bin/sh"):
        yield Hostile(f"xray of {kind!r}", whole(part(b"xray", b"a.dcm", kind + bytes(200))))
        yield Hostile(f"files of {kind!r}", whole(part(b"files", b"a.dcm", kind + bytes(200))))


def _sounds() -> Iterator[Hostile]:
    """Yield broken sounds; a bundle without sounds refuses them as an unknown modality."""
    wav = io.BytesIO()
    with wave.open(wav, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(4000)
        stream.writeframes(bytes(100))
    content = wav.getvalue()
    for place, content_ in enumerate(
        (content[:20], content[:44], b"RIFF" + bytes(4), b"OggS" + bytes(500), b"fLaC" + b"\xff" * 500)
    ):
        yield Hostile(f"sound {place}", whole(part(b"audio", b"a.wav", content_)))


def _texts() -> Iterator[Hostile]:
    for place, content in enumerate(
        (b"", b"\x00\x01", b"a,b\n1,2\n", b'"' * 100_000, b"name,value,unit\n" + b"x,1,\n" * 3, b"\xff\xfe" * 50)
    ):
        yield Hostile(f"table {place}", whole(part(b"tabular", b"a.csv", content)))
    for place, content in enumerate((b"", b"   ", bytes(100))):
        yield Hostile(f"report {place}", whole(part(b"report", b"a.txt", content)))
    yield Hostile("a report alone", whole(part(b"report", b"a.txt", b"Findings: the heart is enlarged.")))


def _dicom(path: Path) -> Iterator[Hostile]:
    content = path.read_bytes()
    yield Hostile("preamble alone", whole(part(b"xray", b"a.dcm", content[:132])))
    yield Hostile("cut in the header", whole(part(b"xray", b"a.dcm", content[:400])))
    yield Hostile("cut in the pixels", whole(part(b"xray", b"a.dcm", content[:-100])))
    for tag, name in ((b"\x28\x00\x10\x00US\x02\x00", "rows"), (b"\x28\x00\x11\x00US\x02\x00", "columns")):
        at = content.find(tag)
        if at >= 0:
            for value in (b"\xff\xff", b"\x00\x00"):
                changed = content[: at + len(tag)] + value + content[at + len(tag) + 2 :]
                yield Hostile(f"{name} {value!r}", whole(part(b"xray", b"a.dcm", changed)))
