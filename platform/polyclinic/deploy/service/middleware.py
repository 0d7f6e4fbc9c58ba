"""ASGI middleware that every request passes: Host header, token, rate limit and security headers."""

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

_MOST_CLIENTS = 4096
_LEAST_BURST = 10


class Throttle:
    """A bucket of tokens per client, filled evenly (Turner 1986, "leaky bucket").

    Args:
        per_minute: requests of one client; 0 for any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._rate, self._burst = per_minute / 60, float(max(_LEAST_BURST, per_minute // 6))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one token; gives 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        now = time.monotonic()
        left, then = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


def neighbourhood(address: str) -> str:
    """An IPv4 address, or the network of an IPv6 one, all of which one client may use."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((known, 64), strict=False))
    return address


TOKEN = "POLYCLINIC_TOKEN"
_SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def chosen_token(file: Path | None, *, no_token: bool, host: str, environment: Mapping[str, str] = os.environ) -> str:
    """The token that clients must show; empty where none is asked for.

    Args:
        file: that holds it; else the environment's ``POLYCLINIC_TOKEN``, else one is made.
        no_token: whether to ask for none.
        host: that the service listens at.
        environment: of this process.

    Raises:
        ValueError: none is asked for though other machines reach the service, it is too short to be one, or others
            than its owner may read the file.
    """
    if no_token:
        if not is_loopback(host):
            raise ValueError(
                f"got `--no_token` with host {host}, which other machines can reach, expected a token; leave "
                "`--no_token` out, or set `--host` to 127.0.0.1"
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
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"got a token of {len(token)} characters, expected {_SHORTEST_TOKEN} or more visible ones of ASCII; make "
            "one with `openssl rand -hex 32`"
        )
    return token


SCORE, BUNDLE, METRICS, ALIVE, READY = "/v1/score", "/v1/bundle", "/metrics", "/healthz", "/readyz"
GONE = 499
"""Status, in log and audit, of a request whose client did not wait; nginx uses it so."""

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
    """Stands in front of every route: hosts, origins, tokens, rates, headers, the log and the counters.

    Args:
        app: behind it.
        hosts: names under which the service is reached; another name is a web page's that was pointed here.
        token: that clients must show; empty for none.
        throttle: how often.
        measures: of the service.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: frozenset[str], token: str, throttle: Throttle, measures: ServiceMetrics
    ) -> None:
        self._app, self._hosts, self._token = app, hosts, token.encode()
        self._throttle, self._measures = throttle, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, private=scope["path"].startswith(_GUARDED))

        async def read() -> Message:
            message = await receive()
            scope[WHOLE] = not message.get("more_body", False)
            return message

        try:
            self._admit(scope)
            await self._app(scope, read, answer)
        except ClientDisconnect:
            answer.status = GONE
        except ServiceError as refusal:
            await refusal.response()(scope, read, answer)
        except Exception as error:  # whatever it says may hold what was uploaded
            logger.error("a fault of the service: %s", _place(error))
            if answer.status == 0:
                await ServiceError(500, "the service made a mistake; its log says where").response()(
                    scope, read, answer
                )
        finally:
            self._count(scope, answer)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if host_name(headers.get("host", "")) not in self._hosts:
            raise ServiceError(400, "got another host name, expected one of this service; set `--allowed_hosts`")
        if not scope["path"].startswith(_GUARDED):
            return
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers["host"]:
            raise ServiceError(403, "got a request that a page of another site sent; open this service's own page")
        known = self._knows(headers.get("authorization", ""))
        address = neighbourhood(scope["client"][0]) if scope["client"] else ""
        if wait := self._throttle.wait(f"{address} {known}"):
            seconds = str(int(wait) + 1)
            raise ServiceError(429, f"too many requests; ask again in {seconds} s", {"Retry-After": seconds})
        if not known:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ServiceError(401, "got no valid token, expected `Authorization: Bearer TOKEN`", challenge)

    def _knows(self, authorization: str) -> bool:
        if not self._token:
            return True
        scheme, _, shown = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._token)

    def _count(self, scope: Scope, answer: "_Answer") -> None:
        # A path may be anything that a client wrote, a name too.
        route = scope["path"] if scope["path"] in _ROUTES else "page"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "OTHER"
        seconds = time.monotonic() - answer.started
        self._measures.requests.labels(route, str(answer.status)).inc()
        self._measures.seconds.labels(route).observe(seconds)
        number = scope.get("state", {}).get("number", "-")
        logger.info("%s %s %s status %d in %.0f ms", number, method, route, answer.status, 1000 * seconds)


class _Answer:
    """Sends on, with headers that a browser obeys, and remembers the status."""

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
    """The name in a Host header, without its port."""
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    return name.strip("[]").lower()


def _place(error: BaseException) -> str:
    """Where it was raised, without what it says."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "nowhere"
    return f"{type(error).__name__} at {where}"
