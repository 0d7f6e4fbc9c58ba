"""HTTP session of one server: bounded answers, bounded retries, and no request to another host."""

import io
import os
import time
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException
from typing import Any
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError

from polyclinic.cohort.dicomweb.address import LOGIN, origin_of

MAX_BYTES = 500_000_000
"""Largest size of an instance, which is that of a DICOM file that plugins read."""

MAX_LIST_BYTES = 50_000_000
ATTEMPTS = 4
FIRST_WAIT = 0.5
"""Seconds before the second attempt; the wait doubles with each further one."""

_TIMEOUTS = (10.0, 60.0)
"""Seconds for a connection, and between two parts of an answer."""

MAX_SECONDS = 900.0
"""Seconds for one answer, which a server may send byte by byte."""

_RETRIED = (408, 429, 500, 502, 503, 504)
_REFUSED_LOGIN = (401, 403)
_CHUNK_BYTES = 2**16
_MAX_REDIRECTS = 3


class Unusable(Exception):
    """Raised for an answer that another attempt would not change; the argument is the reason."""


class _Incomplete(Exception):
    """Raised for an answer that is cut off or reports a passing fault; the argument is the reason."""


class ServerSession(requests.Session):
    """Session for the requests of dicomweb-client and of ``part``.

    Proxies and passwords that the machine is configured with are not used. Certificates are checked against
    REQUESTS_CA_BUNDLE or SSL_CERT_FILE where one of them is set.

    Args:
        address: address of the server.
        login: ``user:password`` or a bearer token; empty for none.
    """

    def __init__(self, address: str, login: str) -> None:
        super().__init__()
        self.trust_env, self.max_redirects = False, _MAX_REDIRECTS
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        self.headers["Accept-Encoding"] = "identity"
        self._origin = origin_of(address)
        self.auth = _login(login)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the address of a redirection within the server.

        Raises:
            ValueError: the server redirects to another host, port or scheme.
        """
        target = super().get_redirect_target(resp)
        try:
            is_same = target is None or origin_of(urljoin(resp.url, target)) == self._origin
        except ValueError:
            is_same = False
        if not is_same:
            resp.close()  # requests hands it to nobody once this is raised
            raise ValueError(
                "the server redirects to another host, to which nothing is sent; set `--dicomweb` to the address of "
                "the service itself"
            )
        return target

    def get(self, url: str | bytes, **settings: Any) -> requests.Response:
        """Send a request of dicomweb-client; see ``_retried``."""
        # The client states the host without its port.
        headers = {name: value for name, value in (settings.get("headers") or {}).items() if name != "Host"}
        return self._retried(str(url), headers, MAX_LIST_BYTES, lambda response: None)

    def part(self, url: str) -> bytes:
        """Retrieve one instance as it is stored (PS3.18, 10.4).

        Raises:
            Unusable: the server does not have it, or answers with something else than one instance.
            ValueError: see ``_retried``.
        """
        headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        return _only_part(self._retried(url, headers, MAX_BYTES, _refuse_open_end))

    def _retried(
        self, url: str, headers: dict[str, str], limit: int, check: Callable[[requests.Response], None]
    ) -> requests.Response:
        """Send a request up to four times, until its answer is complete.

        Raises:
            Unusable: the answer is too large, or has another status than 200 to 299.
            ValueError: the server refuses the login, cannot be reached, or its answers are never complete.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
            try:
                response = self._once(url, headers, limit)
                check(response)
                return response
            except requests.exceptions.SSLError:
                raise ValueError(
                    "the certificate of the server is not accepted; set REQUESTS_CA_BUNDLE to the file with the "
                    "certificates of the hospital"
                ) from None
            except _Incomplete as error:
                reason = str(error)
            except (requests.RequestException, HTTPError, HTTPException, OSError) as error:
                reason = type(error).__name__
        raise ValueError(
            f"the server gave no complete answer in {ATTEMPTS} attempts ({reason}); see that it runs, and repeat the "
            "command, which continues with what is missing"
        )

    def _once(self, url: str, headers: dict[str, str], limit: int) -> requests.Response:
        with super().get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
            status = response.status_code
            if status in _RETRIED:
                raise _Incomplete(f"status {status}")
            if status in _REFUSED_LOGIN:
                raise ValueError(f"the server refuses the login (status {status}); set {LOGIN} or `--login`")
            if not 200 <= status < 300:
                raise Unusable(f"status {status}")
            content = _bounded(response, limit)
        response.raw = io.BytesIO(content)
        return response


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _login(text: str) -> AuthBase | None:
    """Return the login of a text: a token has no colon (RFC 6750, 2.1)."""
    user, colon, password = text.partition(":")
    if colon:
        return HTTPBasicAuth(user.encode(), password.encode())
    return _Bearer(text) if text else None


def _bounded(response: requests.Response, limit: int) -> bytes:
    """Read the body of an answer.

    Raises:
        Unusable: it is larger than the limit.
        _Incomplete: it is cut off, or takes too long.
    """
    stated = response.headers.get("Content-Length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise Unusable(f"an answer of more than {limit:,} bytes")
    end, content = time.monotonic() + MAX_SECONDS, bytearray()
    # What has arrived, without waiting for a full chunk.
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > limit:
            raise Unusable(f"an answer of more than {limit:,} bytes")
        if time.monotonic() > end:
            raise _Incomplete(f"longer than {MAX_SECONDS:.0f} s")
    if stated.isdecimal() and response.raw.tell() != int(stated):
        raise _Incomplete("cut off")
    return bytes(content)


def _media_type(response: requests.Response) -> tuple[str, bytes]:
    """Return the media type of an answer, and the delimiter of its parts."""
    message = Message()
    message["Content-Type"] = response.headers.get("Content-Type", "")
    return message.get_content_type(), b"--" + str(message.get_param("boundary", "")).encode(errors="replace")


def _refuse_open_end(response: requests.Response) -> None:
    """Refuse a list of parts without its end (RFC 2046, 5.1.1), which a broken connection leaves."""
    kind, delimiter = _media_type(response)
    if kind == "multipart/related" and not response.content.rstrip().endswith(delimiter + b"--"):
        raise _Incomplete("cut off")


def _only_part(response: requests.Response) -> bytes:
    kind, delimiter = _media_type(response)
    content = response.content
    if kind == "application/dicom":  # against the standard, but common
        return content
    if kind != "multipart/related" or delimiter == b"--":
        raise Unusable("an answer of another media type than DICOM")
    start = content.find(b"\r\n\r\n", content.find(delimiter))
    end = content.find(b"\r\n" + delimiter, start)
    if start < 0 or end < 0 or not content[end + 2 + len(delimiter) :].startswith(b"--"):
        raise Unusable("an answer without exactly one part")
    return content[start + 4 : end]
