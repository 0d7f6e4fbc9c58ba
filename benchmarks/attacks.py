"""Uploads that a service must refuse, each with status 4xx and a one-sentence message."""

import gzip
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from benchmarks.multipart import BOUNDARY, KIND, Request, form, part

MEGABYTE = 1 << 20
_ZEROS = bytes(MEGABYTE)


def attacks(study: dict[str, Path], seed: int) -> list[Request]:
    """Return over a thousand attacks, in random order.

    Args:
        study: files of one good study, by modality.
        seed: seed of all random choices.
    """
    rng = np.random.default_rng(seed)
    good = {name: path.read_bytes() for name, path in study.items()}
    signal = study["ecg"].with_suffix(".dat").read_bytes()
    requests = [
        *_truncated(good, signal, rng),
        *_wrong_types(good, rng),
        *_noise(good, rng),
        *_headers(good, signal),
        *_bombs(),
        *_carts(),
        *_dimensions(good, rng),
        *_broken_forms(good, rng),
        *_too_much(),
        *_strangers(good),
        *_odd_names(good),
    ]
    return [requests[place] for place in rng.permutation(len(requests))]


def _one(name: str, modality: str, content: bytes, file: str = "a.bin") -> Request:
    return Request(name=name, body=form(part(modality, file, content)))


def _record(name: str, header: bytes, signal: bytes, *, files: tuple[str, str] = ("a.hea", "a.dat")) -> Request:
    return Request(name=name, body=form(part("ecg", files[0], header), part("ecg", files[1], signal)))


def _truncated(good: dict[str, bytes], signal: bytes, rng: np.random.Generator) -> Iterator[Request]:
    for _ in range(80):
        share = rng.uniform(0, 0.9)
        yield _one("truncated DICOM", "xray", good["xray"][: int(len(good["xray"]) * share)], "a.dcm")
        header = good["ecg"].replace(_stem(good["ecg"]), b"a")
        yield _record("truncated WFDB signal", header, signal[: int(len(signal) * share)])
        yield _record("truncated WFDB header", header[: int(len(header) * share * 0.5)], signal)
    for _ in range(40):
        yield _one("truncated WAV", "audio", good["audio"][: rng.integers(0, 44)], "a.wav")
    for name in good:
        yield _one(f"empty {name}", name, b"")


def _wrong_types(good: dict[str, bytes], rng: np.random.Generator) -> Iterator[Request]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.dcm", good["xray"])
    contents = {
        "pickle": pickle.dumps({"a": [1] * 100}),
        "zip": archive.getvalue(),
        "gzip": gzip.compress(good["xray"]),
        "HTML": b"<html><script>alert(1)</script></html>",
        "PDF": b"%PDF-1.7\n" + bytes(200),
        "ELF": b"\x7fELF" + bytes(200),
        "YAML": b"!!python/object/apply:os.system ['true']",
        "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        "nothing but zeros": bytes(5000),
        "random": rng.bytes(5000),
    }
    for kind, content in contents.items():
        for name in good:
            yield _one(f"{kind} as {name}", name, content, f"a.{kind.lower()[:3]}")
    for name in good:
        for other in set(good) - {name}:
            yield _one(f"{other} as {name}", name, good[other], f"a.{other}")
    yield _one("a modality that there is not", "mri", good["xray"])
    yield _one("a path as modality", "../xray", good["xray"])


def _noise(good: dict[str, bytes], rng: np.random.Generator) -> Iterator[Request]:
    for name in good:
        for _ in range(60):
            yield _one(f"noise as {name}", name, rng.bytes(int(rng.integers(1, 4000))), "a.bin")
    for _ in range(60):
        yield _one("a DICOM head with noise", "xray", bytes(128) + b"DICM" + rng.bytes(500), "a.dcm")
        yield _one("a RIFF head with noise", "audio", b"RIFF" + rng.bytes(4) + b"WAVEfmt " + rng.bytes(60), "a.wav")
        yield _one("a PNG head with noise", "xray", b"\x89PNG\r\n\x1a\n" + rng.bytes(500), "a.png")
        yield _one("a JPEG head with noise", "xray", b"\xff\xd8\xff\xe0" + rng.bytes(500), "a.jpg")


def _headers(good: dict[str, bytes], signal: bytes) -> Iterator[Request]:
    line = b"a.dat 16 1000 16 0 0 0 0 "
    places = (
        "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "/proc/self/environ", "~/a.dat", "..\\..\\a.dat",
        "a/../../../etc/hosts", "%2e%2e/a.dat", "a\x00.dat", "/dev/stdin", "file:///etc/passwd", "http://127.0.0.1/a",
        ".", "..", "/", "//etc//passwd", "a.dat/../../../etc/passwd", "/proc/self/mem", "/sys/kernel/notes", "CON",
    )  # fmt: skip
    for place in places:
        yield _record(f"WFDB header to {place!r}", b"a 1 500 5000\n" + place.encode() + line[5:] + b"II\n", signal)
        header = b"a/2 1 500 5000\n" + place.encode() + b" 2500\nb 2500\n"
        yield _record(f"WFDB segment to {place!r}", header, signal)
    for message in (
        b"a 1 1e18 5000", b"a 1 500 1e18", b"a 999999999 500 5000", b"a -1 500 5000", b"a 1 -500 5000", b"a 1 0 5000",
        b"a 1 nan 5000", b"a 1 500 99999999999999999999", b"a 1 500 -5", b"a", b"", b"a/999999999 1 500 5000",
        b"\xff\xfe",
    ):  # fmt: skip
        yield _record(f"WFDB header {message!r}", message + b"\n" + line + b"II\n", signal)
    for encoding in (b"1", b"999", b"212x99999999", b"16+99999999999", b"-16", b"508"):
        yield _record(
            f"WFDB format {encoding!r}", b"a 1 500 5000\na.dat " + encoding + b" 1000 16 0 0 0 0 II\n", signal
        )
    for gain in (b"0/mV 16 0 0 0 0 II", b"1000/parsec 16 0 0 0 0 II", b"1e400 16 0 0 0 0 II", b"1000 16 0 0 0 0 XYZ"):
        yield _record(f"WFDB gain {gain!r}", b"a 1 500 5000\na.dat 16 " + gain + b"\n", signal)
    for file in (
        "../../a.hea",
        "/tmp/a.hea",
        "a\x00.hea",
        "." * 300 + ".hea",
        "a" * 5000 + ".hea",
        "..",
        ".",
        "a.hea/",
    ):
        yield _record(f"file name {file[:20]!r}", b"garbage", signal, files=(file, "a.dat"))
    yield Request(name="a signal without its header", body=form(part("ecg", "a.dat", signal)))
    yield Request(name="a header without its signal", body=form(part("ecg", "a.hea", good["ecg"])))


def _bombs() -> Iterator[Request]:
    flat = zlib.compress(bytes(200 * MEGABYTE), 9)[2:-4]
    meta = _element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1.99\x00")
    length = _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta)))
    yield _one("deflated DICOM bomb", "xray", bytes(128) + b"DICM" + length + meta + flat, "a.dcm")
    for modality in ("xray", "ecg"):
        yield _one(f"nested sequences as {modality}", modality, _nested(20_000), "a.dcm")
    pixels = zlib.compress(bytes(60 * MEGABYTE), 9)
    for width, height in ((60_000, 60_000), (1, 2**31 - 1), (2**31 - 1, 1), (0, 0), (20_000, 20_000)):
        yield _one(f"PNG of {width} x {height}", "xray", _png(width, height, pixels), "a.png")
    yield _one("compressed text in a PNG", "xray", _png(8, 8, b"", zlib.compress(bytes(100 * MEGABYTE))), "a.png")
    yield _one("a table of one endless line", "tabular", b"creatinine" + b"," * (4 * MEGABYTE) + b"\n1\n", "a.csv")
    yield _one("a table of a million rows", "tabular", b"creatinine\n" + b"1\n" * 1_000_000, "a.csv")
    for rate, channels, bits, size in (
        (2**31, 1, 16, 100),
        (1, 65535, 16, 100),
        (4000, 1, 16, 2**32 - 1),
        (0, 0, 0, 0),
    ):
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, channels, rate,
                           min(rate * 2, 2**32 - 1), 2, bits, b"data", size)  # fmt: skip
        yield _one(f"WAV at {rate} Hz with {channels} channels", "audio", head + b"\x01", "a.wav")


def _carts() -> Iterator[Request]:
    """Yield exports of ECG carts that expand, name other files or declare absurd sizes."""
    layers = "".join(f"<!ENTITY e{level} '{f'&e{level - 1};' * 10}'>" for level in range(1, 12))
    uses = {f"<!ENTITY e0 'ha'>{layers}": "&e11;", "<!ENTITY e0 SYSTEM 'file:///etc/passwd'>": "&e0;"}
    for root in ("RestingECG", "AnnotatedECG", "restingecgdata", "ECG ACQUISITION_TIME=''"):
        name = root.split()[0]
        for entities, use in uses.items():
            content = f"<!DOCTYPE {name} [{entities}]><{root}><CHANNEL>{use}</CHANNEL></{name}>"
            yield _one(f"entities in {name}", "ecg", content.encode(), "a.xml")
        deep = f"<{root}>{'<a>' * 200_000}"
        yield _one(f"depth of {name}", "ecg", deep.encode(), "a.xml")
    for count in (2**16, 2**31 - 1, 2**32 - 1):
        mfer = b"\x40\x20MFR " + bytes(28) + b"\x05\x04" + struct.pack(">I", count) + b"\x1e\x02\0\0"
        yield _one(f"{count} channels of MFER", "ecg", mfer, "a.mwf")
        pointers = struct.pack("<HIIHII", 0, 46, 7, 3, 27, 53) + bytes(10)
        section = struct.pack("<HHIBB6s", 0, 3, 27, 20, 20, b"") + b"\x01\0" + struct.pack("<IIB", 1, count, 1)
        scp = struct.pack("<HHIBB6s", 0, 0, 46, 20, 20, b"SCPECG") + pointers + section
        yield _one(f"{count} samples of SCP-ECG", "ecg", struct.pack("<HI", 0, len(scp) + 6) + scp, "a.scp")
        ishne = b"ISHNE1.0\0\0" + struct.pack("<iiii", 0, min(count, 2**31 - 1), 522, 522) + bytes(600)
        yield _one(f"{count} samples of ISHNE", "ecg", ishne, "a.ecg")


def _dimensions(good: dict[str, bytes], rng: np.random.Generator) -> Iterator[Request]:
    rows, columns = (b"\x28\x00" + tag + b"\x00US\x02\x00" for tag in (b"\x10", b"\x11"))
    content = good["xray"]
    assert rows in content
    assert columns in content
    for _ in range(60):
        wide, high = (struct.pack("<H", int(side)) for side in rng.integers(30_000, 65_536, size=2))
        yield _one(
            "DICOM of other dimensions", "xray", _replaced(_replaced(content, rows, high), columns, wide), "a.dcm"
        )
    for tag, values in (
        (b"\x00\x01", (0, 3, 12, 4096)),
        (b"\x01\x01", (0, 1, 255, 65_535)),
        (b"\x02\x00", (0, 9, 65_535)),
    ):
        for value in values:
            changed = _replaced(content, b"\x28\x00" + tag + b"US\x02\x00", struct.pack("<H", value))
            if changed != content:
                yield _one(f"DICOM with {tag!r} of {value}", "xray", changed, "a.dcm")


def _broken_forms(good: dict[str, bytes], rng: np.random.Generator) -> Iterator[Request]:
    complete = form(part("xray", "a.dcm", good["xray"]))
    for _ in range(60):
        yield Request(name="a form that ends in the middle", body=complete[: rng.integers(1, len(complete) - 20)])
    for kind in (
        None, "", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a", "text/plain",
        "multipart/form-data; boundary=" + "a" * 5000, "application/json", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=\u00e9", "multipart/form-data; boundary=other", ";;;", "image/png",
    ):  # fmt: skip
        kind = None if kind is None else kind.encode("utf-8").decode("latin-1")
        yield Request(name=f"content type {str(kind)[:40]!r}", body=complete, kind=kind)
    edge = f"--{BOUNDARY}".encode()
    for name, body in {
        "nothing": b"",
        "an empty form": edge + b"--\r\n",
        "a part without headers": edge + b"\r\n\r\nabc\r\n" + edge + b"--\r\n",
        "a part without a name": edge + b"\r\nContent-Disposition: form-data\r\n\r\nabc\r\n" + edge + b"--\r\n",
        "a header of a megabyte": edge + b"\r\nX: " + b"a" * MEGABYTE + b"\r\n\r\nabc\r\n" + edge + b"--\r\n",
        "a header without an end": edge + b"\r\nContent-Disposition: form-data; name=",
        "line feeds alone": complete.replace(b"\r\n", b"\n"),
        "a form in a form": form(part("xray", "a.dcm", complete)),
        "JSON": b'{"xray": "aGVsbG8="}',
        "base64": edge + b'\r\nContent-Disposition: form-data; name="xray"; filename="a"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n" + edge + b"--\r\n",
        "the same part twice": form(*[part("xray", "a.dcm", good["xray"])] * 2),
        "two X-rays": form(part("xray", "a.dcm", good["xray"]), part("xray", "b.dcm", good["xray"])),
        "five hundred parts": form(*[part("xray", f"{place}.dcm", b"a") for place in range(500)]),
    }.items():
        yield Request(name=name, body=body)
    for query in ("?explain=gout", "?explain=" + "a" * 3000, "?views=maybe", "?explain=%00"):
        yield Request(name=f"query {query[:20]}", body=complete, path=f"/v1/score{query}")


def _too_much() -> Iterator[Request]:
    """Yield endless streams, in which the client sends the same megabyte repeatedly."""
    opened = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="xray"; filename="a.dcm"\r\n\r\n'.encode()
    for _ in range(4):
        yield Request(name="an endless stream", body=_Endless(opened))
    yield Request(name="a length of a terabyte", body=opened, headers={"Content-Length": str(10**12)})
    yield Request(name="a length below zero", body=opened, headers={"Content-Length": "-5"})
    yield Request(name="a length of words", body=opened, headers={"Content-Length": "many"})


def _strangers(good: dict[str, bytes]) -> Iterator[Request]:
    body = form(part("xray", "a.dcm", good["xray"]))
    for message in ("", "Bearer", "Bearer wrong", "Basic YTpi", "bearer  ", "Bearer " + "a" * 5000, "Bearer \xe9"):
        headers = {"Authorization": message} if message else {}
        yield Request(name=f"token {message[:12]!r}", body=body, headers=headers, token=False)
        yield Request(
            name="the bundle without a token", method="GET", path="/v1/bundle", kind=None, headers=headers, token=False
        )
    yield Request(name="metrics without a token", method="GET", path="/metrics", kind=None, token=False)
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        yield Request(name=f"{method} of scores", method=method, kind=None)
    for path in (
        "/v1/scores",
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/v1/%00",
        "/bundle.json",
        "/model.safetensors",
        "/%",
    ):
        yield Request(name=f"GET {path}", method="GET", path=path, kind=None)
    yield Request(name="another host", body=body, headers={"Host": "evil.example"})
    yield Request(name="another origin", body=body, headers={"Origin": "http://evil.example"})


def _odd_names(good: dict[str, bytes]) -> Iterator[Request]:
    """Yield valid files whose part or file names a terminal, a log or a page would interpret."""
    odd = (
        "\x1b[31mred", "\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\x00", "\x07", "\x08\x08", "\x7f", "\u202etxt",
        "\u2028", "\u200b\x1b", "\ufeff\x00", "a\tb", "a\x0bb", "a\x85b", "[bold]x[/nothing]\x1b", "\ud7ff\x01",
    )  # fmt: skip
    for text in odd:
        yield Request(name=f"part name {text!r}", body=form(part(text, "a.dcm", good["xray"])))
        yield Request(name=f"part name xray{text!r}", body=form(part(f"xray{text}", "a.dcm", good["xray"])))
        yield Request(name=f"file name {text!r}", body=form(part("xray", f"a{text}.dcm", good["xray"])))
        yield Request(name=f"sorted file name {text!r}", body=form(part("files", f"a{text}.dcm", good["xray"])))
        yield Request(
            name=f"finding {text!r}", body=form(part("xray", "a.dcm", good["xray"])),
            path=f"/v1/score?explain={quote(text, safe='')}",
        )  # fmt: skip


class _Endless(Iterable[bytes]):
    """A stream of at most half a gigabyte: a service that accepts all of it has failed."""

    def __init__(self, opened: bytes) -> None:
        self._opened = opened

    def __iter__(self) -> Iterator[bytes]:
        yield self._opened
        yield from islice(iter(lambda: _ZEROS, None), 512)


def _stem(header: bytes) -> bytes:
    return header.split(b" ", 1)[0].split(b"/")[0]


def _replaced(content: bytes, tag: bytes, value: bytes) -> bytes:
    place = content.find(tag)
    return content if place < 0 else content[: place + len(tag)] + value + content[place + len(tag) + len(value) :]


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def _nested(depth: int) -> bytes:
    meta = _element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1\x00")
    head = bytes(128) + b"DICM" + _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta))) + meta
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return head + opened * depth


def _png(width: int, height: int, pixels: bytes, text: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    message = chunk(b"zTXt", b"Comment\x00\x00" + text) if text else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + message + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


assert KIND.endswith(BOUNDARY)
