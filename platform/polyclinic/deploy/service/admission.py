"""Which requests are worked on, and whose turn it is: no client keeps the others out."""

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
_SECONDS_REMEMBERED = 60.0


def fair_share(number: int) -> int:
    """How many of the workers one request may have: half of them, rounded up."""
    return (number + 1) // 2


@dataclass(kw_only=True, eq=False)
class Admission:
    """One request to score.

    Attributes:
        number: of the request.
        client: address that sent it.
        share: lets through as many of its files at a time as may be decoded together.
        working: whether any of its files has been given to a process, so that it is finished whoever else comes.
    """

    number: int
    client: str
    share: asyncio.Semaphore
    working: bool = False
    deadline: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))


class Admissions:
    """The places for requests that are worked on at a time.

    Args:
        most: places.
        measures: of the service.
    """

    def __init__(self, most: int, measures: ServiceMetrics) -> None:
        self._most, self._measures = most, measures
        self._present: list[Admission] = []

    @asynccontextmanager
    async def place(self, admission: Admission) -> AsyncIterator[None]:
        """A place for a request.

        Where all are taken, a client that has fewer gets one of the client that has most: its youngest request that
        is still being sent, or waits, is sent away.

        Raises:
            Refusal: all are taken, or another client was given this one.
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
        held = Counter(one.client for one in self._present)
        waiting = [one for one in reversed(self._present) if not one.working and held[one.client] > held[client] + 1]
        if not waiting:
            raise _busy()
        sent_away = max(waiting, key=lambda one: held[one.client])
        self._leave(sent_away)
        sent_away.deadline.reschedule(asyncio.get_running_loop().time())

    def _leave(self, admission: Admission) -> None:
        if admission in self._present:
            self._present.remove(admission)
            self._measures.in_flight.set(len(self._present))


@dataclass(kw_only=True, eq=False)
class _Waiting(Generic[Worker]):
    client: str
    worker: "asyncio.Future[Worker]"


class WorkerQueue(Generic[Worker]):
    """Workers that are lent to clients in turn (Nagle 1987, fair queuing): next is who was served longest ago.

    A client that is alone may have all of them. Where another came within the last minute, each may have its share,
    so that a worker is left for the other one whatever the first one sends.

    Args:
        share: of a client.
    """

    def __init__(self, share: int) -> None:
        self._share = share
        self._idle: deque[Worker] = deque()
        self._waiting: list[_Waiting[Worker]] = []
        self._held: Counter[str] = Counter()
        self._served: OrderedDict[str, float] = OrderedDict()

    def add(self, worker: Worker) -> None:
        """Lend it from now on."""
        self._idle.append(worker)
        self._lend()

    async def take(self, client: str) -> Worker:
        """A worker, as soon as it is this client's turn; ``release`` has to be called once it is done."""
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
        """One worker is not this client's any more, whether it is added again or not."""
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
        self._forget_absent()
        known = {*self._served, *(one.client for one in self._waiting)}
        turns = {client: turn for turn, client in enumerate(self._served)}
        allowed = [
            one
            for one in self._waiting
            if not one.worker.cancelled() and (len(known) == 1 or self._held[one.client] < self._share)
        ]
        return min(allowed, key=lambda one: turns.get(one.client, -1), default=None)

    def _forget_absent(self) -> None:
        while self._served:
            client, then = next(iter(self._served.items()))
            if self._held[client] or time.monotonic() - then < _SECONDS_REMEMBERED:
                return
            del self._served[client]


def _busy() -> ServiceError:
    return ServiceError(503, "the service is busy; send it again later", {"Retry-After": "1"})
