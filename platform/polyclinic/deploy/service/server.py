"""The front process: one event loop that speaks HTTP, and stops gracefully."""

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
from polyclinic.deploy.service.stopping import StopRequest
from polyclinic.deploy.service.workers.decoder_pool import DecoderPool
from polyclinic.deploy.service.workers.model_client import ModelClient
from polyclinic.deploy.service.workers.process import WorkerProcess, end_all
from polyclinic.deploy.service.workers.sandbox import Scratch

_SECONDS_TO_STOP, _SECONDS_IDLE, _SECONDS_FOR_HEADERS = 10, 20, 10.0
_MOST_CONNECTIONS, _MOST_OF_ONE_CLIENT = 512, 256
_MEGABYTE = 1 << 20
logger = logging.getLogger("polyclinic.deploy.service")


class TimedProtocol(H11Protocol):
    """HTTP that waits for the head of a request only so long; otherwise a few slow clients take all connections."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request; one client cannot have all connections."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_OF_ONE_CLIENT and self._own_connections() > _MOST_OF_ONE_CLIENT:
            transport.abort()
        else:
            self._wait()

    def _own_connections(self) -> int:
        client = _client(self)
        return sum(_client(one) == client for one in self.connections)

    def data_received(self, data: bytes) -> None:
        """Wait on, where a head is not whole yet."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._unset()
        elif self._deadline is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._unset()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong below HTTP as every other error is said."""
        said = "the request is not HTTP as this service knows it; let a client library write its head"
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=json.dumps({"error": {"message": said}}).encode()),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(_SECONDS_FOR_HEADERS, self.transport.close)

    def _unset(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _client(connection: Any) -> str:
    return neighbourhood(connection.client[0]) if connection.client else ""


def run(
    first: "Future[tuple[WorkerProcess, dict[str, Any]]]",
    *,
    scratch: Scratch,
    audit: AuditLog,
    listener: socket.socket,
    hosts: frozenset[str],
    token: str,
    readers: int,
    file_mb: int,
    request_mb: int,
    memory_mb: int,
    file_seconds: float,
    upload_seconds: float,
    per_minute: int,
    in_flight: int,
    together: int,
    stop: StopRequest,
    announce: Callable[[dict[str, Any]], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        first: the process that computes, which is being started.
        scratch: folder for what is read.
        audit: log.
        listener: bound already.
        hosts: names under which the service is reached.
        token: that clients must show; empty for none.
        readers: processes that decode.
        file_mb: the most of a file.
        request_mb: the most of a request.
        memory_mb: that decoding a file may take.
        file_seconds: that decoding a file may take.
        upload_seconds: that sending a request may take.
        per_minute: requests of one client.
        in_flight: studies at a time.
        together: studies that are scored together, at most.
        stop: asked for by SIGTERM or Ctrl-C.
        announce: called with what the bundle is, when the first request can be answered.

    Raises:
        ValueError: the bundle cannot be loaded, or the audit log cannot be written.
        KeyboardInterrupt: it was stopped before it was ready.
    """
    measures = ServiceMetrics()

    async def main() -> None:
        stop.react(_cancellation())
        pool = DecoderPool(
            number=readers, scratch=scratch, memory=memory_mb * _MEGABYTE, largest=file_mb * _MEGABYTE,
            seconds=file_seconds, measures=measures,
        )  # fmt: skip
        starting = asyncio.create_task(pool.start())
        model = None
        try:
            process, card = await asyncio.wrap_future(first)
            model = ModelClient(first=process, card=card, measures=measures, together=together)
            await starting
            desk = ScoringHandler(model=model, readers=pool, audit=audit, measures=measures, in_flight=in_flight)
            app = build_app(desk, largest=file_mb * _MEGABYTE, most=request_mb * _MEGABYTE, seconds=upload_seconds)
            guard = AccessMiddleware(app, hosts=hosts, token=token, throttle=Throttle(per_minute), measures=measures)
            server = uvicorn.Server(_settings(guard))
            await _enter(audit, "start", card)
            announce(card)
            # From here on uvicorn listens to the signals; one that comes just before it does is not lost.
            stop.react(partial(setattr, server, "should_exit", True))
            await server.serve(sockets=[listener])
            await _enter(audit, "stop", card)
        finally:
            starting.cancel()
            pool.close()
            if model is not None:
                model.close()
            end_all()

    _log_plainly()
    with _cancelled_as_interrupted():
        asyncio.run(main())


def _cancellation() -> Callable[[], object]:
    """Cancels the running task, from any thread or signal handler."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "asyncio.run makes one"
    return partial(loop.call_soon_threadsafe, task.cancel)


@contextmanager
def _cancelled_as_interrupted() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _enter(audit: AuditLog, event: str, card: dict[str, Any]) -> None:
    try:
        await asyncio.to_thread(audit.add, {"event": event, "bundle": card["sha256"]})
    except AuditLost as lost:
        raise ValueError(str(lost)) from None
    except OSError as error:
        raise ValueError(f"the audit log cannot be written ({type(error).__name__}); see to its disk") from None


def _settings(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=TimedProtocol, ws="none", loop="asyncio", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=_SECONDS_IDLE, timeout_graceful_shutdown=_SECONDS_TO_STOP,
        limit_concurrency=_MOST_CONNECTIONS, backlog=_MOST_CONNECTIONS,
    )  # fmt: skip


def _log_plainly() -> None:
    """One line for each request. What uvicorn says of errors could hold what a client sent."""
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
