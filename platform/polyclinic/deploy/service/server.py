"""The front process of the service: one event loop that answers HTTP requests, and stops gracefully."""

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from polyclinic.deploy.service.app import build_app
from polyclinic.deploy.service.audit import AuditLog, AuditLost
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.middleware import AccessMiddleware, Throttle, neighbourhood
from polyclinic.deploy.service.scoring import ScoringHandler
from polyclinic.deploy.service.settings import ServiceSettings, accepted_hosts
from polyclinic.deploy.service.stopping import StopRequest
from polyclinic.deploy.service.workers.decoder_pool import DecoderPool
from polyclinic.deploy.service.workers.messages import ServedBundle
from polyclinic.deploy.service.workers.model_client import ModelClient
from polyclinic.deploy.service.workers.process import WorkerProcess, end_all
from polyclinic.deploy.service.workers.sandbox import Scratch

_STOP_SECONDS, _IDLE_SECONDS, _HEADER_SECONDS = 10, 20, 10.0
_MAX_CONNECTIONS, _MAX_CLIENT_CONNECTIONS = 512, 256
_MEGABYTE = 1 << 20
logger = logging.getLogger("polyclinic.deploy.service")


class TimedProtocol(H11Protocol):
    """HTTP with a deadline for the head of a request, so that a few slow clients cannot occupy all connections."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request; close the connection if its client has too many."""
        super().connection_made(transport)
        if len(self.connections) > _MAX_CLIENT_CONNECTIONS and self._client_connections() > _MAX_CLIENT_CONNECTIONS:
            transport.abort()
        else:
            self._start_deadline()

    def _client_connections(self) -> int:
        client = _client(self)
        return sum(_client(connection) == client for connection in self.connections)

    def data_received(self, data: bytes) -> None:
        """Start the deadline of the next head, and end it once a head is complete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_deadline()
        elif self._deadline is None:
            self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline with the connection."""
        self._end_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Report a broken request in the JSON form of every other error."""
        message = "the request is not valid HTTP/1.1; let a client library write its head"
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=json.dumps({"error": {"message": message}}).encode()),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(_HEADER_SECONDS, self.transport.close)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _client(connection: Any) -> str:
    return neighbourhood(connection.client[0]) if connection.client else ""


def run(
    settings: ServiceSettings,
    *,
    first: "Future[tuple[WorkerProcess, ServedBundle]]",
    scratch: Scratch,
    audit: AuditLog,
    listener: socket.socket,
    token: str,
    stop: StopRequest,
    announce: Callable[[dict[str, Any]], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings: limits of the service.
        first: model worker that is starting, with its bundle.
        scratch: parent of the folders of the decoder workers.
        audit: log of requests.
        listener: bound socket.
        token: token that clients must send; empty for none.
        stop: request to stop by SIGTERM or Ctrl-C.
        announce: function that is called with the card of the bundle when the first request can be answered.

    Raises:
        ValueError: the bundle cannot be loaded, or the audit log cannot be written.
        KeyboardInterrupt: the service was stopped before it was ready.
    """
    measures, max_file = ServiceMetrics(), settings.file_mb * _MEGABYTE

    async def main() -> None:
        stop.react(_cancellation())
        pool = DecoderPool(
            number=settings.readers, scratch=scratch, memory=settings.memory_mb * _MEGABYTE, largest=max_file,
            seconds=settings.file_seconds, measures=measures,
        )  # fmt: skip
        starting = asyncio.create_task(pool.start())
        model = None
        try:
            process, bundle = await asyncio.wrap_future(first)
            model = ModelClient(first=process, bundle=bundle, measures=measures, together=settings.together)
            await starting
            handler = ScoringHandler(
                model=model, readers=pool, audit=audit, measures=measures, in_flight=settings.in_flight
            )
            routes = build_app(
                handler, largest=max_file, most=settings.request_mb * _MEGABYTE, seconds=settings.upload_seconds
            )
            app = AccessMiddleware(
                routes, hosts=accepted_hosts(settings), token=token, throttle=Throttle(settings.per_minute),
                measures=measures,
            )  # fmt: skip
            server = uvicorn.Server(_uvicorn_config(app))
            await _record_event(audit, "start", bundle.card)
            announce(bundle.card)
            # From here on uvicorn handles the signals; one that arrives just before that is not lost.
            stop.react(partial(setattr, server, "should_exit", True))
            await server.serve(sockets=[listener])
            await _record_event(audit, "stop", bundle.card)
        finally:
            starting.cancel()
            pool.close()
            if model is not None:
                model.close()
            end_all()

    _configure_logging()
    with _cancelled_as_interrupted():
        asyncio.run(main())


def _cancellation() -> Callable[[], object]:
    """Return a function that cancels the running task, from any thread or signal handler."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "asyncio.run makes a task"
    return partial(loop.call_soon_threadsafe, task.cancel)


@contextmanager
def _cancelled_as_interrupted() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _record_event(audit: AuditLog, event: str, card: dict[str, Any]) -> None:
    try:
        await asyncio.to_thread(audit.add, {"event": event, "bundle": card["sha256"]})
    except AuditLost as lost:
        raise ValueError(str(lost)) from None
    except OSError as error:
        raise ValueError(f"the audit log cannot be written ({type(error).__name__}); check its disk") from None


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=TimedProtocol, ws="none", loop="asyncio", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=_IDLE_SECONDS, timeout_graceful_shutdown=_STOP_SECONDS,
        limit_concurrency=_MAX_CONNECTIONS, backlog=_MAX_CONNECTIONS,
    )  # fmt: skip


def _configure_logging() -> None:
    """Log one line per request, and nothing of uvicorn: its errors could quote what a client sent."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)sZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for name in ("uvicorn", "uvicorn.error", "asyncio", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger(name).propagate = False
