"""A small DICOMweb server on this machine (PS3.18, QIDO-RS and WADO-RS) that can be made to misbehave."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "end-of-part"
_KEYWORDS = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}


@dataclass
class FakeArchive:
    """Instances of the server, and how it answers.

    Attributes:
        instances: stored files, with their datasets.
        page: largest number of entries in one answer.
        faults: answers in place of the usual one, each used once, by a part of the path.
        requests: paths with queries that were requested, in order.
        headers: headers of the requests.
    """

    instances: list[tuple[Any, bytes]] = field(default_factory=list)
    page: int = 2
    faults: list[tuple[str, Callable[["Handler"], None]]] = field(default_factory=list)
    ignores_offset: bool = False
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    address: str = ""

    def add(self, path: Path) -> None:
        self.instances.append((pydicom.dcmread(path), path.read_bytes()))

    def retrieved(self) -> Counter[str]:
        return Counter(path.rpartition("/")[2] for path in self.requests if "/instances/" in path)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = 2**16
    disable_nagle_algorithm = True
    archive: FakeArchive

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.archive.requests.append(self.path)
        self.archive.headers.append(dict(self.headers))
        for place, (part, answer) in enumerate(self.archive.faults):
            if part in self.path:
                del self.archive.faults[place]
                answer(self)
                return
        parts = urlsplit(self.path)
        names = parts.path.strip("/").split("/")[1:]
        asked = dict(zip(names[::2], names[1::2], strict=False))
        found = [
            entry
            for entry in self.archive.instances
            if all(entry[0].get(_KEYWORDS[name]) == uid for name, uid in asked.items())
        ]
        if "instances" in asked:
            self.send_instance(found[0][1])
        else:
            self._search(names[-1], found, {name: values[0] for name, values in parse_qs(parts.query).items()})

    def _search(self, level: str, found: list[tuple[Any, bytes]], query: dict[str, str]) -> None:
        offset = 0 if self.archive.ignores_offset else int(query.pop("offset", 0))
        query.pop("offset", None)
        limit = min(int(query.pop("limit", 1000)), self.archive.page)
        kind = query.pop("ModalitiesInStudy", "")
        entries = {}
        for dataset, _ in found:
            if kind in ("", dataset.Modality) and all(str(dataset.get(name)) == value for name, value in query.items()):
                entries[dataset.get(_KEYWORDS[level])] = dataset
        page = [_listed(dataset) for dataset in entries.values()][offset : offset + limit]
        if page:
            self.send(200, "application/dicom+json", json.dumps(page).encode())
        else:
            self.send(204, "application/dicom+json", b"")

    def send_instance(self, content: bytes) -> None:
        self.send(200, f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"', multipart(content))

    def send(self, status: int, kind: str, content: bytes, *, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
        if length is not None:
            self.close_connection = True


def multipart(*contents: bytes) -> bytes:
    parts = [f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + each + b"\r\n" for each in contents]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _listed(dataset: Any) -> dict[str, Any]:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "Modality")
    present = [dataset[keyword] for keyword in keywords if keyword in dataset]
    return {f"{each.tag:08X}": {"vr": each.VR, "Value": [str(each.value)]} for each in present}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Ignore clients that close the connection within an answer, as they should."""


@contextmanager
def dicomweb_server(*files: Path) -> Iterator[FakeArchive]:
    """Serve DICOM files on a free port of the loopback."""
    archive = FakeArchive()
    for file in files:
        archive.add(file)
    handler = type("_Handler", (Handler,), {"archive": archive})
    with _Server(("127.0.0.1", 0), handler) as server:
        archive.address = f"http://127.0.0.1:{server.server_port}/dicom-web"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield archive
        finally:
            server.shutdown()
            thread.join()
