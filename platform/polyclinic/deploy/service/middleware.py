"""ASGI middleware for every request: Host and Origin checks, token, rate limit, security headers, log and metrics."""

import hmac
import ipaddress
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyclinic.deploy.service.errors import WHOLE, ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.system.secret import refuse_shared

_MAX_CLIENTS = 4096
_MIN_BURST = 10


class Throttle:
    """Rate limit: one bucket of tokens per client, filled at a constant rate (Turner 1986, "leaky bucket").

    Args:
        per_minute: maximum number of requests per client; 0 for no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._rate, self._burst = per_minute / 60, float(max(_MIN_BURST, per_minute // 6))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        if not self._rate:
            return 0.0
        now = time.monotonic()
        left, then = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


def neighbourhood(address: str) -> str:
    """Return an IPv4 address, or the /64 network of an IPv6 address, all of which one client may use."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


TOKEN = "POLYCLINIC_TOKEN"
_MIN_TOKEN_LENGTH = 16


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def chosen_token(file: Path | None, *, no_token: bool, host: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the token that clients must send; empty if none is required.

    Args:
        file: file with the token; without it, ``POLYCLINIC_TOKEN`` of the environment is used, or a token is made.
        no_token: whether to require no token.
        host: address on which the service listens.
        environment: environment of this process.

    Raises:
        ValueError: no token is required although other machines can reach the service, the token is too short or not
            visible ASCII, or other users may read the file.
    """
    if no_token:
        if not is_loopback(host):
            raise ValueError(
                f"got `--no_token` with host {host}, which other machines can reach, expected a token; omit "
                "`--no_token`, or set `--host` to 127.0.0.1"
            )
        return ""
    if file is None and not environment.get(TOKEN):
        return secrets.token_urlsafe(32)
    if file is not None:
        refuse_shared(file, "token")
    try:
        token = file.read_text(encoding="ascii").strip() if file is not None else environment[TOKEN].strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"the token cannot be read ({type(error).__name__}); set `--token_file` to a file") from None
    if len(token) < _MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"got a token of {len(token)} characters, expected {_MIN_TOKEN_LENGTH} or more visible ASCII characters; "
            "make one with `openssl rand -hex 32`"
        )
    return token


SCORE, BUNDLE, METRICS, ALIVE, READY = "/v1/score", "/v1/bundle", "/metrics", "/healthz", "/readyz"
GONE = 499
"""Status in log and audit of a request whose client closed the connection, as in nginx."""

_ROUTES = {SCORE, BUNDLE, METRICS, ALIVE, READY, "/openapi.json"}
_GUARDED = (METRICS, "/v1/")
_SECURITY = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
logger = logging.getLogger(__name__)


class AccessMiddleware:
    """Check, log and count every request, and add security headers to every response.

    Args:
        app: application that answers accepted requests.
        hosts: accepted Host headers; any other is refused (DNS rebinding).
        token: token that clients must send; empty for none.
        throttle: rate limit.
        measures: metrics of the service.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: frozenset[str], token: str, throttle: Throttle, measures: ServiceMetrics
    ) -> None:
        self._app, self._hosts, self._token = app, hosts, token.encode()
        self._throttle, self._measures = throttle, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send, private=scope["path"].startswith(_GUARDED))

        async def read() -> Message:
            message = await receive()
            scope[WHOLE] = not message.get("more_body", False)
            return message

        try:
            self._check_access(scope)
            await self._app(scope, read, response)
        except ClientDisconnect:
            response.status = GONE
        except ServiceError as error:
            await error.response()(scope, read, response)
        except Exception as error:  # its message may quote what was uploaded, so only its place is logged
            logger.error("internal error: %s", _place(error))
            if response.status == 0:
                await ServiceError(500, "internal error of the service; see its log").response()(scope, read, response)
        finally:
            self._log_and_count(scope, response)

    def _check_access(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if host_name(headers.get("host", "")) not in self._hosts:
            raise ServiceError(
                400, "got an unknown Host header, expected a name of this service; set `--allowed_hosts`"
            )
        if not scope["path"].startswith(_GUARDED):
            return
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers["host"]:
            raise ServiceError(403, "got a request from a page of another site; use the page of this service")
        has_token = self._has_token(headers.get("authorization", ""))
        address = neighbourhood(scope["client"][0]) if scope["client"] else ""
        if wait := self._throttle.wait(f"{address} {has_token}"):
            seconds = str(int(wait) + 1)
            raise ServiceError(429, f"too many requests; try again in {seconds} s", {"Retry-After": seconds})
        if not has_token:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ServiceError(401, "got no valid token, expected `Authorization: Bearer TOKEN`", challenge)

    def _has_token(self, authorization: str) -> bool:
        if not self._token:
            return True
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)

    def _log_and_count(self, scope: Scope, response: "_Response") -> None:
        # Only known paths and methods are logged, as a client may send anything, such as the name of a patient.
        route = scope["path"] if scope["path"] in _ROUTES else "page"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "OTHER"
        seconds = time.monotonic() - response.started
        self._measures.requests.labels(route, str(response.status)).inc()
        self._measures.seconds.labels(route).observe(seconds)
        number = scope.get("state", {}).get("number", "-")
        logger.info("%s %s %s status %d in %.0f ms", number, method, route, response.status, 1000 * seconds)


class _Response:
    """Send a response with security and cache headers, and record its status."""

    def __init__(self, send: Send, *, private: bool) -> None:
        self._send, self._private = send, private
        self.status, self.started = 0, time.monotonic()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY.items():
                headers[name] = value
            headers["cache-control"] = "no-store" if self._private else "no-cache"
        await self._send(message)


def host_name(header: str) -> str:
    """Return the name in a Host header, without its port."""
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    return name.strip("[]").lower()


def _place(error: BaseException) -> str:
    """Return the type of an error and the line that raised it, without its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "nowhere"
    return f"{type(error).__name__} at {where}"
