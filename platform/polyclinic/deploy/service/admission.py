"""Admission of requests and fair queuing of clients, so that no client can lock out the others."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics

Worker = TypeVar("Worker")
_ACTIVE_SECONDS = 60.0
"""Time after its last request for which a client counts as active."""


def fair_share(number: int) -> int:
    """Return the share of the workers for one request: half of them, rounded up."""
    return (number + 1) // 2


@dataclass(kw_only=True, eq=False)
class Admission:
    """One request to score.

    Attributes:
        number: number of the request.
        client: address of the client.
        share: limit of its files that are decoded at the same time.
        working: whether a worker has one of its files; such a request is not dropped for another client.
        deadline: timeout that is moved to now if the request is dropped.
    """

    number: int
    client: str
    share: asyncio.Semaphore
    working: bool = False
    deadline: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))


class Admissions:
    """The places for requests in progress.

    Args:
        most: number of places.
        measures: metrics of the service.
    """

    def __init__(self, most: int, measures: ServiceMetrics) -> None:
        self._most, self._measures = most, measures
        self._present: list[Admission] = []

    @asynccontextmanager
    async def place(self, admission: Admission) -> AsyncIterator[None]:
        """Return a context in which the request occupies a place.

        If all places are taken, the client with the most places loses one to a client with fewer: its most recent
        request that no worker has started on is dropped.

        Raises:
            ServiceError: all places are taken, or this request was dropped for another client.
        """
        self._make_room(admission.client)
        self._present.append(admission)
        self._measures.in_flight.set(len(self._present))
        try:
            async with admission.deadline:
                yield
        except TimeoutError:
            if not admission.deadline.expired():
                raise
            raise _busy() from None
        finally:
            self._leave(admission)

    def _make_room(self, client: str) -> None:
        if len(self._present) < self._most:
            return
        held = Counter(request.client for request in self._present)
        waiting = [
            request
            for request in reversed(self._present)
            if not request.working and held[request.client] > held[client] + 1
        ]
        if not waiting:
            raise _busy()
        dropped = max(waiting, key=lambda request: held[request.client])
        self._leave(dropped)
        dropped.deadline.reschedule(asyncio.get_running_loop().time())

    def _leave(self, admission: Admission) -> None:
        if admission in self._present:
            self._present.remove(admission)
            self._measures.in_flight.set(len(self._present))


@dataclass(kw_only=True, eq=False)
class _Waiting(Generic[Worker]):
    client: str
    worker: "asyncio.Future[Worker]"


class WorkerQueue(Generic[Worker]):
    """Fair queue of workers (Nagle 1987): the next worker goes to the client that was served longest ago.

    A client that is alone may have all workers. If another was active within the last minute, each is limited to its
    share, so that a worker remains for the other.

    Args:
        share: maximum number of workers per client while several are active.
    """

    def __init__(self, share: int) -> None:
        self._share = share
        self._idle: deque[Worker] = deque()
        self._waiting: list[_Waiting[Worker]] = []
        self._held: Counter[str] = Counter()
        self._served: OrderedDict[str, float] = OrderedDict()

    def add(self, worker: Worker) -> None:
        """Add an idle worker."""
        self._idle.append(worker)
        self._lend()

    async def take(self, client: str) -> Worker:
        """Wait for a worker; the caller must call ``release`` when the worker is done."""
        waiting = _Waiting[Worker](client=client, worker=asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._lend()
        try:
            return await waiting.worker
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self._idle.appendleft(waiting.worker.result())
                self.release(client)
            raise

    def release(self, client: str) -> None:
        """End the use of a worker by a client; ``add`` makes a reusable worker idle again."""
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._lend()

    def _lend(self) -> None:
        while self._idle and (waiting := self._next()) is not None:
            self._waiting.remove(waiting)
            self._held[waiting.client] += 1
            self._served[waiting.client] = time.monotonic()
            self._served.move_to_end(waiting.client)
            waiting.worker.set_result(self._idle.popleft())

    def _next(self) -> "_Waiting[Worker] | None":
        self._drop_inactive()
        active = {*self._served, *(request.client for request in self._waiting)}
        turns = {client: turn for turn, client in enumerate(self._served)}
        allowed = [
            request
            for request in self._waiting
            if not request.worker.cancelled() and (len(active) == 1 or self._held[request.client] < self._share)
        ]
        return min(allowed, key=lambda request: turns.get(request.client, -1), default=None)

    def _drop_inactive(self) -> None:
        while self._served:
            client, then = next(iter(self._served.items()))
            if self._held[client] or time.monotonic() - then < _ACTIVE_SECONDS:
                return
            del self._served[client]


def _busy() -> ServiceError:
    return ServiceError(503, "the service is busy; send it again later", {"Retry-After": "1"})
