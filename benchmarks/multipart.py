"""Multipart requests as exact bytes, and a client that sends them unchanged."""

import http.client
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "polyclinic-boundary-7d1c"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to the service; ``headers`` are added to the token and the content type."""

    name: str
    body: bytes | Iterable[bytes] = b""
    method: str = "POST"
    path: str = "/v1/score"
    kind: str | None = KIND
    headers: dict[str, str] = field(default_factory=dict)
    token: bool = True


def part(name: str, file: str, content: bytes) -> bytes:
    """Return the bytes of a form part with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
    return f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """Return the bytes of a complete form with the given parts."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class Client:
    """A client with one connection, which is reopened when closed.

    Args:
        address: address of the service, such as ``http://127.0.0.1:8000``.
        token: bearer token.
        timeout: timeout in seconds.
        client: local address to send from; the service counts each address as another client.
    """

    def __init__(self, address: str, token: str, timeout: float = 60.0, client: str = "127.0.0.1") -> None:
        where = urlsplit(address)
        assert where.hostname is not None
        self._host, self._port, self._token, self._timeout = where.hostname, where.port, token, timeout
        self._client = client
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: Request) -> tuple[int, Any]:
        """Return the status and the JSON content of the answer; 0 and None without an answer."""
        for _ in range(2):
            fresh = self._connection is None
            try:
                return self._sent(request)
            except (http.client.HTTPException, OSError):
                self.close()
                if fresh:
                    return 0, None
        return 0, None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _sent(self, request: Request) -> tuple[int, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=self._timeout, source_address=(self._client, 0)
            )
        headers = dict(request.headers)
        if request.kind is not None:
            headers.setdefault("Content-Type", request.kind)
        if request.token:
            headers["Authorization"] = f"Bearer {self._token}"
        chunked = not isinstance(request.body, bytes)
        # A server that refuses a request early answers before it has received the body.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request(request.method, request.path, request.body, headers, encode_chunked=chunked)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self.close()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, None
